//! Chat messages to prompt text, by the Jinja template in the model file.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};
use thiserror::Error;

use super::error::ChatTemplateError;

/// Work that one rendering may do, in minijinja's fuel: about an instruction or 64 bytes each, so at most 320 MB.
/// A template comes with the model file and its input from the network; neither may hang or fill the worker.
const FUEL: u64 = 5_000_000;

/// One turn of a conversation, as a template sees it.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// Text of the turn.
    pub content: &'a str,
}

/// A compiled chat template.
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles `source`, with the whitespace rules and functions that published templates are written for
    /// (Hugging Face `apply_chat_template`: `trim_blocks`, `lstrip_blocks`, Python string methods, `raise_exception`).
    ///
    /// # Errors
    /// A syntax error in the template.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, ChatTemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| ChatTemplateError::Syntax(error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| ChatTemplateError::Syntax(error.to_string()))?;
        Ok(Self {
            source: source.to_owned(),
            environment,
            bos_token: bos_token.to_owned(),
            eos_token: eos_token.to_owned(),
        })
    }

    /// The Jinja source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation; `add_generation_prompt` opens the assistant's turn at the end.
    ///
    /// # Errors
    /// The template rejects the messages, or fails.
    pub fn render(&self, messages: &[Turn<'_>], add_generation_prompt: bool) -> Result<String, ChatTemplateError> {
        let messages: Vec<Value> =
            messages.iter().map(|message| context! { role => message.role, content => message.content }).collect();
        let template =
            (self.environment.get_template(NAME)).map_err(|error| ChatTemplateError::Failed(error.to_string()))?;
        template
            .render(context! {
                messages,
                add_generation_prompt,
                bos_token => self.bos_token.as_str(),
                eos_token => self.eos_token.as_str(),
            })
            .map_err(|error| explain(&error))
    }
}

/// Marks an error as the template's own verdict on the messages.
#[derive(Debug, Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

fn explain(error: &minijinja::Error) -> ChatTemplateError {
    if error.kind() == ErrorKind::OutOfFuel {
        return ChatTemplateError::TooMuchWork;
    }
    let raised = std::iter::successors(std::error::Error::source(error), |cause| cause.source())
        .find_map(|cause| cause.downcast_ref::<Raised>());
    match raised {
        Some(Raised(message)) => ChatTemplateError::Rejected(message.clone()),
        None => ChatTemplateError::Failed(error.to_string()),
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
        ChatTemplate::new(source, "<s>", "</s>")?.render(messages, true)
    }

    #[test]
    fn a_conversation_ends_with_the_opened_turn_of_the_assistant() {
        let text = render(CHATML, &user("Hi {{ 1 }} & <b>")).unwrap();
        assert_eq!(text, "<|im_start|>user\nHi {{ 1 }} & <b><|im_end|>\n<|im_start|>assistant\n");
    }

    #[test]
    fn without_generation_prompt_the_turn_stays_closed() {
        let template = ChatTemplate::new(CHATML, "", "").unwrap();
        assert!(template.render(&user("Hi"), false).unwrap().ends_with("<|im_end|>\n"));
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
