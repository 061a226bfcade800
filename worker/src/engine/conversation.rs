//! Conversations as prompt text, also where the model's template knows no tools.
//!
//! A template that does not show calls of tools gets them as text in the assistant's turn, one
//! `<tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>` a call. A template that refuses the role `tool`, or leaves it out,
//! gets the answers as `<tool_response>\n...\n</tool_response>` in the user's turn. Both forms are those of Hermes and Qwen.

use std::sync::OnceLock;

use eoscast_model::text::{ChatTemplate, ChatTemplateError, RenderOptions};
use eoscast_proto::domain::{ChatMessage, Conversation, ReplyStart, ToolCall};
use serde::Serialize;
use serde_json::{Value, json};

/// Stands at the end of the message that a reply continues, to be found in the rendered text.
const CONTINUES_HERE: &str = "\u{E000}the reply continues here\u{E001}";

/// What a probe of a template looks for.
const PROBE: &str = "eoscast_probe";

/// A chat template, and what it shows of tools.
pub(super) struct ConversationRenderer {
    template: ChatTemplate,
    shows: OnceLock<Shows>,
}

/// What a template shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shows {
    calls: bool,
    answers: bool,
}

/// Why a conversation has no prompt.
pub(super) enum RenderError {
    Template(ChatTemplateError),
    /// The template leaves out the message that the reply shall continue.
    NothingToContinue,
}

/// A turn as a template sees it.
#[derive(Serialize)]
struct Turn {
    role: String,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
}

impl ConversationRenderer {
    pub(super) fn new(template: ChatTemplate) -> Self {
        Self { template, shows: OnceLock::new() }
    }

    pub(super) fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The prompt.
    pub(super) fn render(&self, conversation: &Conversation) -> Result<String, RenderError> {
        let mut turns = if conversation.messages.iter().any(uses_tools) {
            turns(&conversation.messages, self.shows().map_err(RenderError::Template)?)
        } else {
            turns(&conversation.messages, Shows { calls: true, answers: true })
        };
        let continues = conversation.reply == ReplyStart::InLastMessage;
        if let Some(last) = turns.last_mut().filter(|_| continues) {
            last.content.push_str(CONTINUES_HERE);
        }
        let options = RenderOptions {
            add_generation_prompt: conversation.reply == ReplyStart::NewTurn,
            kwargs: Some(&conversation.template_kwargs),
        };
        let mut text = self.template.render(&turns, options).map_err(RenderError::Template)?;
        if continues {
            text.truncate(text.rfind(CONTINUES_HERE).ok_or(RenderError::NothingToContinue)?);
        }
        Ok(text)
    }

    /// What the template shows of tools, found out once.
    fn shows(&self) -> Result<Shows, ChatTemplateError> {
        match self.shows.get() {
            Some(shows) => Ok(*shows),
            None => Shows::of(&self.template).map(|shows| *self.shows.get_or_init(|| shows)),
        }
    }
}

fn uses_tools(message: &ChatMessage) -> bool {
    message.role == "tool" || !message.tool_calls.is_empty()
}

impl Shows {
    /// Tries the template on calls and answers that are easy to find in the text.
    ///
    /// # Errors
    /// The template could not be tried now.
    fn of(template: &ChatTemplate) -> Result<Self, ChatTemplateError> {
        let message = |role: &str, content: &str| ChatMessage {
            role: role.to_owned(),
            content: content.to_owned(),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            reasoning_content: None,
        };
        // Mistral's templates want ids of nine letters and digits.
        let id = || Some("call00001".to_owned());
        let conversation = |function: &str, answer: &str| {
            let call = ToolCall { id: id(), name: function.to_owned(), arguments: json!({}) };
            let asks = ChatMessage { tool_calls: vec![call], ..message("assistant", "") };
            let answers = ChatMessage { tool_call_id: id(), name: Some("f".to_owned()), ..message("tool", answer) };
            [message("user", "q"), asks, answers]
        };
        let shown = |messages: &[ChatMessage], shows| match template
            .render(&turns(messages, shows), RenderOptions::default())
        {
            Ok(text) => Ok(text.contains(PROBE)),
            Err(error @ (ChatTemplateError::Busy | ChatTemplateError::NoProcess(_))) => Err(error),
            Err(_) => Ok(false),
        };
        let calls_beside = |answers| shown(&conversation(PROBE, "a"), Self { calls: true, answers });
        // A template may know the calls and not the answers, or the other way round.
        let calls = calls_beside(true)? || calls_beside(false)?;
        Ok(Self { calls, answers: shown(&conversation("f", PROBE), Self { calls, answers: true })? })
    }
}

/// The messages as turns; what the template does not show becomes text.
fn turns(messages: &[ChatMessage], shows: Shows) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::with_capacity(messages.len());
    // The last turn is an answer of a tool as a user's turn: templates want turns to alternate, so what follows joins it.
    let mut is_joinable = false;
    for message in messages {
        let is_answer = message.role == "tool" && !shows.answers;
        let mut content = message.content.clone();
        if is_answer {
            content = format!("<tool_response>\n{content}\n</tool_response>");
        }
        if !shows.calls {
            for call in &message.tool_calls {
                let line = if content.is_empty() { "" } else { "\n" };
                let (name, arguments) = (json!(call.name), &call.arguments);
                content.push_str(&format!(
                    "{line}<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>"
                ));
            }
        }
        let role = if is_answer { "user" } else { message.role.as_str() };
        let is_user = role == "user";
        if let Some(last) = turns.last_mut().filter(|last| is_user && last.role == "user" && (is_joinable || is_answer))
        {
            last.content.push('\n');
            last.content.push_str(&content);
            is_joinable = true;
            continue;
        }
        is_joinable = is_answer;
        let calls = message.tool_calls.iter().filter(|_| shows.calls);
        turns.push(Turn {
            role: role.to_owned(),
            content,
            name: message.name.clone().filter(|_| !is_answer),
            tool_calls: calls.map(as_openai_writes).collect(),
            tool_call_id: message.tool_call_id.clone().filter(|_| !is_answer),
            reasoning_content: message.reasoning_content.clone(),
        });
    }
    turns
}

fn as_openai_writes(ToolCall { id, name, arguments }: &ToolCall) -> Value {
    let mut call = json!({ "type": "function", "function": { "name": name, "arguments": arguments } });
    if let Some(id) = id {
        call["id"] = json!(id);
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes any role, and nothing of calls: like the templates of SmolLM2.
    const CHATML: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% endif %}";

    /// Turns alternate between user and assistant, and are trimmed: like the templates of Gemma.
    const ALTERNATING: &str = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('turns must alternate') }}{% endif %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}";

    /// Knows calls and answers.
    const WITH_TOOLS: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\
        {% for c in m.tool_calls %}[{{ c.function.name }} x={{ c.function.arguments.x }}]{% endfor %}</>{% endfor %}";

    fn message(role: &str, content: &str) -> ChatMessage {
        ChatMessage::new(role.to_owned(), content.to_owned()).unwrap()
    }

    fn with_tools() -> Vec<ChatMessage> {
        let call = ToolCall { id: Some("c1".to_owned()), name: "f".to_owned(), arguments: json!({ "x": 1 }) };
        let asks = ChatMessage { tool_calls: vec![call], ..message("assistant", "") };
        vec![message("user", "q"), asks, message("tool", "a"), message("user", "and?")]
    }

    fn render(template: &str, conversation: &Conversation) -> Result<String, String> {
        let template = ChatTemplate::new(template, "", "").unwrap();
        ConversationRenderer::new(template).render(conversation).map_err(|error| match error {
            RenderError::Template(error) => error.to_string(),
            RenderError::NothingToContinue => "nothing to continue".to_owned(),
        })
    }

    #[test]
    fn calls_that_a_template_does_not_show_become_text() {
        let text = render(CHATML, &Conversation::new(with_tools())).unwrap();
        let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\":1}}\n</tool_call>";
        assert_eq!(text, format!("<user>q</><assistant>{call}</><tool>a</><user>and?</><assistant>"));
    }

    #[test]
    fn answers_that_a_template_refuses_join_the_users_turn() {
        let text = render(ALTERNATING, &Conversation::new(with_tools())).unwrap();
        assert!(text.ends_with("<user><tool_response>\na\n</tool_response>\nand?</>"), "{text}");
    }

    #[test]
    fn a_template_that_knows_tools_gets_them_as_they_are() {
        let text = render(WITH_TOOLS, &Conversation::new(with_tools())).unwrap();
        assert_eq!(text, "<user>q</><assistant>[f x=1]</><tool>a</><user>and?</>");
    }

    #[test]
    fn a_reply_begins_in_a_new_turn_or_after_the_messages_or_within_the_last_one() {
        let messages = vec![message("user", "q"), message("assistant", "It is ")];
        let start = |reply| render(CHATML, &Conversation { reply, ..Conversation::new(messages.clone()) }).unwrap();
        assert_eq!(start(ReplyStart::NewTurn), "<user>q</><assistant>It is </><assistant>");
        assert_eq!(start(ReplyStart::AfterMessages), "<user>q</><assistant>It is </>");
        assert_eq!(start(ReplyStart::InLastMessage), "<user>q</><assistant>It is ");
    }

    #[test]
    fn a_message_that_the_template_leaves_out_cannot_be_continued() {
        let conversation =
            Conversation { reply: ReplyStart::InLastMessage, ..Conversation::new(vec![message("user", "q")]) };
        assert_eq!(render("{{ messages | length }}", &conversation), Err("nothing to continue".to_owned()));
    }
}
