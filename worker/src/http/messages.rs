//! Conversations as OpenAI's API writes them.

use eoscast_proto::domain::{ChatMessage, Conversation, ReplyStart, ToolCall};
use eoscast_proto::status::FieldViolation;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The conversation, and how it becomes a prompt.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ConversationFields {
    /// Turns of the conversation; at least one.
    messages: Option<Vec<Message>>,
    /// Opens the assistant's turn at the end of the prompt; default true, unless continue_final_message is.
    add_generation_prompt: Option<bool>,
    /// The reply continues the last message; not together with add_generation_prompt.
    continue_final_message: Option<bool>,
    /// Further variables of the model's chat template, such as enable_thinking of Qwen3.
    chat_template_kwargs: Option<Map<String, Value>>,
}

/// A turn. What else a client keeps of a turn, as an answer's refusal or annotations, has no place in a prompt.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
struct Message {
    /// system, developer (the same), user, assistant, tool or function (the same).
    role: String,
    /// A text or a list of parts of type text; absent means empty.
    content: Option<Content>,
    /// Who speaks, or which tool answers.
    name: Option<String>,
    /// Calls that the assistant made in this turn.
    tool_calls: Option<Vec<Option<ToolCallField>>>,
    /// The older form of one call.
    function_call: Option<FunctionField>,
    /// Which call a tool answers.
    tool_call_id: Option<String>,
    /// What a reasoning model thought before this turn.
    reasoning_content: Option<String>,
    /// Must be empty: the model reads text.
    images: Option<Vec<Value>>,
    /// Must be null: the model reads text.
    audio: Option<Value>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a text or a list of parts of type text")]
#[schemars(inline)]
enum Content {
    Text(String),
    Parts(Vec<Option<Part>>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schemars(inline)]
enum Part {
    #[serde(alias = "input_text", alias = "output_text")]
    Text {
        text: Option<String>,
    },
    Refusal {
        refusal: Option<String>,
    },
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
struct ToolCallField {
    id: Option<String>,
    function: FunctionField,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
struct FunctionField {
    name: String,
    /// As a JSON text, or as the object itself.
    arguments: Option<Value>,
}

/// Variables that every template gets from the worker.
const OWN_VARIABLES: [&str; 6] =
    ["messages", "add_generation_prompt", "continue_final_message", "bos_token", "eos_token", "tools"];

impl ConversationFields {
    /// # Errors
    /// There is no message, one is not of text or of an unknown role, or fields contradict each other.
    pub(super) fn into_conversation(self) -> Result<Conversation, FieldViolation> {
        let messages = self.messages.unwrap_or_default();
        if messages.is_empty() {
            return Err(FieldViolation::new("messages", "must be a list of at least one message"));
        }
        let turn = |(i, message): (usize, Message)| {
            message.into_chat_message().map_err(|violation| violation.scope(format!("messages[{i}]")))
        };
        let continues = self.continue_final_message.unwrap_or(false);
        let reply = match (self.add_generation_prompt, continues) {
            (Some(true), true) => {
                let description = "not together with add_generation_prompt: the reply cannot begin in two places";
                return Err(FieldViolation::new("continue_final_message", description));
            }
            (_, true) => ReplyStart::InLastMessage,
            (Some(false), false) => ReplyStart::AfterMessages,
            (_, false) => ReplyStart::NewTurn,
        };
        let template_kwargs = self.chat_template_kwargs.unwrap_or_default();
        if let Some(name) = OWN_VARIABLES.iter().find(|name| template_kwargs.contains_key(**name)) {
            let description = "is the worker's own: send it as a field of the body, if it is one";
            return Err(FieldViolation::new(format!("chat_template_kwargs.{name}"), description));
        }
        let messages = messages.into_iter().enumerate().map(turn).collect::<Result<_, _>>()?;
        Ok(Conversation { messages, reply, template_kwargs })
    }

    /// Whether there are messages at all.
    pub(super) fn has_messages(&self) -> bool {
        self.messages.is_some()
    }
}

impl Message {
    fn into_chat_message(self) -> Result<ChatMessage, FieldViolation> {
        let only_text = |name| Err(FieldViolation::new(name, "is not supported: the model reads text"));
        if self.images.is_some_and(|images| !images.is_empty()) {
            return only_text("images");
        }
        if self.audio.is_some() {
            return only_text("audio");
        }
        // OpenAI's newer name for the system role.
        let role = if self.role == "developer" { "system".to_owned() } else { self.role };
        let content = match self.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => {
                parts.into_iter().flatten().map(Part::into_text).collect::<Vec<_>>().join("\n")
            }
        };
        let calls = self.tool_calls.unwrap_or_default().into_iter().flatten().map(ToolCallField::into_call);
        let older_call = self.function_call.map(|function| ToolCallField { id: None, function }.into_call());
        Ok(ChatMessage {
            name: self.name,
            tool_calls: calls.chain(older_call).collect(),
            tool_call_id: self.tool_call_id,
            reasoning_content: self.reasoning_content,
            ..ChatMessage::new(role, content)?
        })
    }
}

impl Part {
    fn into_text(self) -> String {
        match self {
            Self::Text { text } => text.unwrap_or_default(),
            Self::Refusal { refusal } => refusal.unwrap_or_default(),
        }
    }
}

impl ToolCallField {
    fn into_call(self) -> ToolCall {
        let FunctionField { name, arguments } = self.function;
        let arguments = match arguments {
            // Templates print objects; what is no object stays the text that it is.
            Some(Value::String(text)) => match serde_json::from_str(&text) {
                Ok(object @ Value::Object(_)) => object,
                _ => Value::String(text),
            },
            Some(value) => value,
            None => Value::Object(Map::new()),
        };
        ToolCall { id: self.id, name, arguments }
    }
}
