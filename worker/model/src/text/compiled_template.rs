//! A chat template that is compiled in this process.

use minijinja::{Environment, ErrorKind, Value, context};

use super::dialect;
use super::error::ChatTemplateError;

const NAME: &str = "chat";

/// A compiled template and the special tokens that it may write.
///
/// Fuel bounds the work of a rendering, but not that of the compiler, nor what a few operators of the library allocate:
/// `TemplateProcess` bounds those.
pub(super) struct CompiledTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// What a template renders.
pub(super) struct Conversation {
    /// A list of messages.
    pub(super) messages: Value,
    /// Whether the assistant's turn is opened at the end.
    pub(super) add_generation_prompt: bool,
    /// A dictionary of further variables, or undefined.
    pub(super) kwargs: Value,
}

impl CompiledTemplate {
    /// Compiles `source`, in the dialect of `transformers`. An error says what is wrong with it, and in which line.
    pub(super) fn new(source: &str, bos_token: String, eos_token: String) -> Result<Self, String> {
        Ok(Self { environment: dialect::environment(NAME, source)?, bos_token, eos_token })
    }

    /// The prompt text.
    pub(super) fn render(&self, conversation: Conversation) -> Result<String, ChatTemplateError> {
        let Conversation { messages, add_generation_prompt, kwargs } = conversation;
        let template = self.environment.get_template(NAME).map_err(|error| explain(&error))?;
        template
            .render(context! {
                messages,
                add_generation_prompt,
                bos_token => self.bos_token.as_str(),
                eos_token => self.eos_token.as_str(),
                ..kwargs
            })
            .map_err(|error| explain(&error))
    }
}

fn explain(error: &minijinja::Error) -> ChatTemplateError {
    if error.kind() == ErrorKind::OutOfFuel {
        return ChatTemplateError::TooMuchWork;
    }
    let raised = std::iter::successors(std::error::Error::source(error), |cause| cause.source())
        .find_map(|cause| cause.downcast_ref::<dialect::Raised>());
    match raised {
        Some(dialect::Raised(message)) => ChatTemplateError::Rejected(message.clone()),
        None => ChatTemplateError::Failed(dialect::in_words(error)),
    }
}
