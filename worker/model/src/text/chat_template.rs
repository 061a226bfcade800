//! Chat messages to prompt text, by the Jinja template in the model file.

use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use super::compiled_template::{CompiledTemplate, Conversation};
use super::dialect;
use super::error::ChatTemplateError;
use super::template_pool::TemplatePool;
use super::template_process::{Request, TemplateSource, launcher};

/// A plain turn of a conversation, as a template sees it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Turn<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// Text of the turn.
    pub content: &'a str,
}

/// How to render a conversation.
#[derive(Debug, Clone, Copy)]
pub struct RenderOptions<'a> {
    /// Opens the assistant's turn at the end.
    pub add_generation_prompt: bool,
    /// Further variables, such as `enable_thinking` of Qwen3. Those that every template gets go before them.
    pub kwargs: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

impl Default for RenderOptions<'_> {
    fn default() -> Self {
        Self { add_generation_prompt: true, kwargs: None }
    }
}

/// A chat template. A faulty one refuses every conversation.
pub struct ChatTemplate {
    source: String,
    /// What is wrong with it, if it cannot be used.
    renderer: Result<Renderer, String>,
}

enum Renderer {
    /// In this process.
    Here(CompiledTemplate),
    /// In processes of its own.
    Apart(TemplatePool),
}

impl ChatTemplate {
    /// Longest template, in bytes. The longest published ones have about 30 kB.
    pub const MAX_BYTES: usize = dialect::MAX_BYTES;

    /// Compiles `source`, in the dialect of `transformers`: in a child process after
    /// [`isolate_chat_templates`](super::isolate_chat_templates), else in this one.
    ///
    /// # Errors
    /// A syntax error in the template, with its line, or a limit that compiling it exceeds.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, ChatTemplateError> {
        let template = Self::of_model(source, bos_token, eos_token);
        match template.fault() {
            Some(fault) => Err(ChatTemplateError::Syntax(fault.to_owned())),
            None => Ok(template),
        }
    }

    /// As [`Self::new`], but a fault shows only where the template is used: it costs the chat, not the model.
    #[must_use]
    pub fn of_model(source: &str, bos_token: &str, eos_token: &str) -> Self {
        if source.len() > Self::MAX_BYTES {
            return Self::faulty(format!("it is longer than {} bytes", Self::MAX_BYTES));
        }
        let (bos_token, eos_token) = (bos_token.to_owned(), eos_token.to_owned());
        let renderer = match launcher() {
            Some(command) => {
                let template = TemplateSource { source: source.to_owned(), bos_token, eos_token };
                TemplatePool::new(command, template).map(Renderer::Apart).map_err(|error| match error {
                    ChatTemplateError::Syntax(fault) => fault,
                    ChatTemplateError::Limit(limit) => limit.to_string(),
                    error => error.to_string(),
                })
            }
            None => CompiledTemplate::new(source, bos_token, eos_token).map(Renderer::Here),
        };
        Self { source: source.to_owned(), renderer }
    }

    /// One that cannot even be read, for this reason.
    pub(super) fn faulty(reason: String) -> Self {
        Self { source: String::new(), renderer: Err(reason) }
    }

    /// What is wrong with the template, if it cannot be used.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.renderer.as_ref().err().map(String::as_str)
    }

    /// The Jinja source; empty if it is too long.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation: [`Turn`]s, or what has more fields than they have. Blocks until it is done, at most some tens of
    /// seconds.
    ///
    /// # Errors
    /// The template rejects the messages, fails, exceeds a limit, or is faulty.
    pub fn render<M: Serialize>(
        &self,
        messages: &[M],
        options: RenderOptions<'_>,
    ) -> Result<String, ChatTemplateError> {
        let RenderOptions { add_generation_prompt, kwargs } = options;
        match &self.renderer {
            Err(fault) => Err(ChatTemplateError::Syntax(fault.clone())),
            Ok(Renderer::Apart(pool)) => pool.render(&Request { messages, add_generation_prompt, kwargs }),
            Ok(Renderer::Here(template)) => template.render(Conversation {
                messages: Value::from(Serde(messages)),
                add_generation_prompt,
                kwargs: kwargs.map(|kwargs| Value::from(Serde(kwargs))).unwrap_or_default(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' \
        + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn user(content: &str) -> Vec<Turn<'_>> {
        vec![Turn { role: "user", content }]
    }

    fn render(source: &str, messages: &[Turn<'_>]) -> Result<String, ChatTemplateError> {
        ChatTemplate::new(source, "<s>", "</s>")?.render(messages, RenderOptions::default())
    }

    #[test]
    fn a_conversation_ends_with_the_opened_turn_of_the_assistant() {
        let text = render(CHATML, &user("Hi {{ 1 }} & <b>")).unwrap();
        assert_eq!(text, "<|im_start|>user\nHi {{ 1 }} & <b><|im_end|>\n<|im_start|>assistant\n");
    }

    #[test]
    fn without_generation_prompt_the_turn_stays_closed() {
        let template = ChatTemplate::new(CHATML, "", "").unwrap();
        let closed = RenderOptions { add_generation_prompt: false, kwargs: None };
        assert!(template.render(&user("Hi"), closed).unwrap().ends_with("<|im_end|>\n"));
    }

    #[test]
    fn a_template_sees_further_variables_beside_those_that_every_template_gets() {
        let source = "{{ enable_thinking }} {{ style.tone }} {{ messages[0].content }}";
        let kwargs = serde_json::json!({ "enable_thinking": false, "style": { "tone": "dry" }, "messages": [] });
        let options = RenderOptions { kwargs: kwargs.as_object(), ..RenderOptions::default() };
        let text = ChatTemplate::new(source, "", "").unwrap().render(&user("Hi"), options).unwrap();
        assert_eq!(text.to_lowercase(), "false dry hi");
    }

    #[test]
    fn blocks_leave_no_whitespace_and_python_methods_work() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n  {% if m.role.startswith('u') %}\n\
            [{{ m['content'].strip() }}]{{ eos_token }}\n  {% endif %}\n{% endfor %}\n";
        assert_eq!(render(source, &user("  Hi ")).unwrap(), "<s>\n[Hi]</s>\n");
    }

    /// What the templates of Qwen3 and Gemma 3 do beyond plain loops.
    #[test]
    fn templates_may_walk_backwards_slice_split_and_ask_for_what_is_not_there() {
        let source = "{%- set ns = namespace(last=-1) %}\
            {%- for m in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}\
            {%- if ns.last < 0 and m.role == 'user' and m.content is string %}{%- set ns.last = index %}{%- endif %}\
            {%- endfor %}\
            {%- for m in messages[1:] %}{%- set content = m.content.split('</think>')[-1].lstrip('\\n') %}\
            {{- loop.index0 ~ content ~ (m.role == 'user') ~ (loop.index0 % 2 == 0) }}{%- endfor %}\
            {{- ns.last ~ ('' if enable_thinking is defined and enable_thinking is false else '+') }}\
            {%- if tools %}{{- tools | tojson }}{%- endif %}{{- messages[0]['content'] | trim }}";
        let message = |role, content| Turn { role, content };
        let messages = [message("user", " a "), message("assistant", "<think>x</think>\n\nb"), message("user", "c")];
        let text = render(source, &messages).unwrap().to_lowercase();
        assert_eq!(text, "0bfalsetrue1ctruefalse2+a");
    }

    #[test]
    fn a_role_that_the_template_raises_on_is_rejected_with_its_words() {
        let source = "{% for m in messages %}{% if m.role != 'assistant' %}\
            {{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}";
        let error = render(source, &user("Hi")).unwrap_err();
        assert!(matches!(&error, ChatTemplateError::Rejected(message) if message == "roles must alternate"), "{error}");
    }

    #[test]
    fn endless_loops_and_doubling_strings_stop_with_an_error() {
        let nested = "{% for a in range(90000) %}{% for b in range(90000) %}{{ b }}{% endfor %}{% endfor %}";
        let doubling =
            "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
        for source in [nested, doubling] {
            let error = render(source, &user("Hi")).unwrap_err();
            assert!(matches!(error, ChatTemplateError::TooMuchWork), "{error}");
        }
    }

    #[test]
    fn a_long_conversation_renders() {
        let content = "word ".repeat(4_000);
        let messages: Vec<_> = (0..200).flat_map(|_| user(&content)).collect();
        assert!(render(CHATML, &messages).unwrap().len() > 4_000_000);
    }

    #[test]
    fn a_broken_template_is_a_syntax_error() {
        assert!(matches!(render("{% for %}", &[]), Err(ChatTemplateError::Syntax(_))));
    }

    #[test]
    fn a_failing_template_says_what_failed() {
        let error = render("{{ messages[0].name.first }}", &user("Hi")).unwrap_err();
        assert!(matches!(error, ChatTemplateError::Failed(_)), "{error}");
    }
}
