//! A body as a job: what both generating endpoints read alike, around what each reads in its own way.

use eoscast_proto::domain::SamplingParams;
use eoscast_proto::status::{FieldViolation, ServiceError};

use super::chat::ChatFields;
use super::completions::CompletionFields;
use super::delivery::{Delivery, DeliveryFields};
use super::endpoint_fields::{EndpointFields, MAX_TOKENS};
use super::fields::Fields;
use super::known_fields::UnknownFields;
use super::messages::ConversationFields;
use super::response::Endpoint;
use super::sampling::SamplingFields;
use super::tools::ToolFields;

/// A request of either endpoint.
pub(super) struct Job {
    pub(super) endpoint: Endpoint,
    pub(super) own: EndpointFields,
    /// Valid, and the same for all choices.
    pub(super) sampling: SamplingParams,
    pub(super) delivery: Delivery,
    pub(super) terms: ClientTerms,
}

/// How the client names what the contract names otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientTerms {
    max_tokens: &'static str,
    prompts: usize,
}

impl Job {
    /// Reads the body of a call to `endpoint`.
    ///
    /// # Errors
    /// The first field that is wrong, by the client's name for it.
    pub(super) fn read(
        endpoint: Endpoint,
        fields: &mut Fields,
        unknown: UnknownFields,
    ) -> Result<Self, FieldViolation> {
        let sampling: SamplingFields = fields.read()?;
        let delivery: DeliveryFields = fields.read()?;
        let own = match endpoint {
            Endpoint::Completions => {
                let own: CompletionFields = fields.read()?;
                fields.check_rest(unknown)?;
                own.into_own()
            }
            Endpoint::Chat => {
                let own: ChatFields = fields.read()?;
                let conversation: ConversationFields = fields.read()?;
                let tools: ToolFields = fields.read()?;
                fields.check_rest(unknown)?;
                tools.check()?;
                own.into_own(conversation.into_conversation()?)
            }
        }?;
        let sampling = sampling.into_params()?;
        let default_max_tokens = own.default_max_tokens.map(|default| default.max(sampling.min_tokens));
        let sampling = SamplingParams {
            max_tokens: own.max_tokens.or(default_max_tokens),
            logprobs: own.logprobs,
            prompt_logprobs: own.echo && own.logprobs.is_some(),
            ..sampling
        };
        let terms = ClientTerms { max_tokens: own.max_tokens_name, prompts: own.inputs.len() };
        let delivery = delivery.into_delivery(unknown)?;
        sampling.validate().map_err(|violation| terms.translate(violation))?;
        Ok(Self { endpoint, own, sampling, delivery, terms })
    }
}

impl ClientTerms {
    /// What is wrong, in the client's words.
    fn translate(self, violation: FieldViolation) -> FieldViolation {
        match violation.field.as_str() {
            MAX_TOKENS | "sampling_params.max_tokens" => FieldViolation::new(self.max_tokens, violation.description),
            _ => violation,
        }
    }

    /// What is wrong with a request of prompt number `prompt`, which is named if there are several.
    pub(super) fn translate_prompt(self, prompt: usize, error: ServiceError) -> ServiceError {
        match error {
            ServiceError::InvalidArgument(FieldViolation { field, description })
                if self.prompts > 1 && (field == "text" || field == "token_ids.ids") =>
            {
                FieldViolation::new(format!("prompt[{prompt}]"), description).into()
            }
            ServiceError::InvalidArgument(violation) => self.translate(violation).into(),
            other => other,
        }
    }
}
