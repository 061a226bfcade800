//! Conversations, and how they become a prompt.

use serde_json::{Map, Value};

use crate::status::FieldViolation;

/// Turns of a conversation, and how the model's chat template renders them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// At least one.
    pub messages: Vec<ChatMessage>,
    /// Where the reply begins.
    pub reply: ReplyStart,
    /// Further variables of the template, such as `enable_thinking` of Qwen3.
    pub template_kwargs: Map<String, Value>,
}

/// Where in a conversation the reply begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyStart {
    /// In a new turn of the assistant, which the prompt opens.
    NewTurn,
    /// After the last message, with nothing opened.
    AfterMessages,
    /// Within the last message, which the reply continues.
    InLastMessage,
}

impl Conversation {
    /// What is answered by a new turn of the assistant.
    pub fn new(messages: Vec<ChatMessage>) -> Self {
        Self { messages, reply: ReplyStart::NewTurn, template_kwargs: Map::new() }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Text of the turn; may be empty.
    pub content: String,
    /// Who speaks, or which tool answers.
    pub name: Option<String>,
    /// Calls that the assistant made in this turn.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool answers.
    pub tool_call_id: Option<String>,
    /// What a reasoning model thought before this turn.
    pub reasoning_content: Option<String>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// By which the answer names it.
    pub id: Option<String>,
    /// Of the tool.
    pub name: String,
    /// As the model wrote them: usually an object.
    pub arguments: Value,
}

impl ChatMessage {
    /// A turn of text alone, of a role that models know. `function` is an older name of `tool`.
    ///
    /// # Errors
    /// A violation of `role`.
    pub fn new(role: String, content: String) -> Result<Self, FieldViolation> {
        let role = match role.as_str() {
            "function" => "tool".to_owned(),
            "system" | "user" | "assistant" | "tool" => role,
            _ => {
                let description = format!("must be system, user, assistant, tool or function, got {role:?}");
                return Err(FieldViolation::new("role", description));
            }
        };
        let tool_calls = Vec::new();
        Ok(Self { role, content, name: None, tool_calls, tool_call_id: None, reasoning_content: None })
    }
}
