//! `POST /tokenize` and `POST /detokenize`, in vLLM's shape.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use eoscast_proto::domain::Input;
use eoscast_proto::status::{FieldViolation, ServiceError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::body::MAX_BODY_BYTES;
use super::chat::ChatFields;
use super::completions::CompletionFields;
use super::delivery::DeliveryFields;
use super::error::ApiError;
use super::fields::Fields;
use super::known_fields::UnknownFields;
use super::messages::ConversationFields;
use super::sampling::SamplingFields;
use super::tools::ToolFields;
use super::whole::Whole;
use super::whole_answer::{self, to_json};
use crate::bounds::{ByteAccount, ClientKey, RETRY_AFTER};
use crate::engine::{EncodeOptions, RequestPreparer};

/// What `/tokenize` alone reads.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TokenizeFields {
    /// A text; without one, messages are rendered.
    prompt: Option<String>,
    /// Whether a text gets the tokens that the model wants before a prompt; default true.
    add_special_tokens: Option<bool>,
    /// Each token in the vocabulary's spelling as well.
    return_token_strs: Option<bool>,
}

/// What `/detokenize` alone reads.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DetokenizeFields {
    /// Token ids.
    #[schemars(required)]
    tokens: Option<Vec<Whole<u32>>>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Tokenized {
    count: usize,
    /// Most tokens of a prompt and its reply together.
    max_model_len: usize,
    tokens: Vec<u32>,
    /// On request.
    token_strs: Option<Vec<Option<String>>>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Detokenized {
    prompt: String,
}

/// What to turn into tokens.
pub(super) struct Source {
    input: Input,
    /// A text gets no tokens that are not in it.
    bare: bool,
    /// Tokens are wanted in the vocabulary's spelling, too.
    spelled: bool,
}

pub(super) async fn tokenize(
    State(app): State<App>,
    client: ClientKey,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    app.check_model(&mut fields)?;
    // Clients count the tokens of a request by sending the same body here.
    fields.skip::<CompletionFields>();
    fields.skip::<ChatFields>();
    fields.skip::<SamplingFields>();
    fields.skip::<DeliveryFields>();
    let Source { input, bare, spelled } = read_source(&mut fields, app.unknown_fields)?;
    let max_model_len = app.preparer.token_limit().0;
    in_background(&app, client, fields.into_account(), move |preparer, cancelled| {
        let tokens = preparer.encode(&input, EncodeOptions { bare, all: true, cancelled })?;
        let spell = |id: &u32| preparer.tokenizer().token(*id).map(str::to_owned);
        let token_strs = spelled.then(|| tokens.iter().map(spell).collect());
        Ok(Tokenized { count: tokens.len(), max_model_len, tokens, token_strs })
    })
    .await
}

pub(super) async fn detokenize(
    State(app): State<App>,
    client: ClientKey,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    app.check_model(&mut fields)?;
    let tokens = read_tokens(&mut fields, app.unknown_fields)?;
    in_background(&app, client, fields.into_account(), move |preparer, _| {
        let tokenizer = preparer.tokenizer();
        let mut bytes = Vec::new();
        for (i, Whole(id)) in tokens.into_iter().enumerate() {
            match (tokenizer.token_bytes(id), tokenizer.token(id)) {
                (_, None) => {
                    let most = tokenizer.vocab_size() - 1;
                    let description = format!("token {id} is not in the vocabulary (0 to {most})");
                    return Err(FieldViolation::new(format!("tokens[{i}]"), description).into());
                }
                // Special tokens have no text in a reply; here they are told by name, so that the text gives the tokens back.
                ([], Some(name)) => bytes.extend_from_slice(name.as_bytes()),
                (text, Some(_)) => bytes.extend_from_slice(text),
            }
            if bytes.len() > MAX_BODY_BYTES {
                let description = format!("their text exceeds {} MiB: send fewer at once", MAX_BODY_BYTES >> 20);
                return Err(FieldViolation::new("tokens", description).into());
            }
        }
        Ok(Detokenized { prompt: String::from_utf8_lossy(&bytes).into_owned() })
    })
    .await
}

pub(super) fn read_source(fields: &mut Fields, unknown: UnknownFields) -> Result<Source, FieldViolation> {
    let own: TokenizeFields = fields.read()?;
    let conversation: ConversationFields = fields.read()?;
    let tools: ToolFields = fields.read()?;
    fields.check_rest(unknown)?;
    let spelled = own.return_token_strs.unwrap_or(false);
    tools.check()?;
    let Some(text) = own.prompt else {
        if own.add_special_tokens == Some(true) {
            let description = "must be false with messages: the chat template adds the special tokens";
            return Err(FieldViolation::new("add_special_tokens", description));
        }
        let input = Input::Chat(conversation.into_conversation()?);
        return Ok(Source { input, bare: false, spelled });
    };
    if conversation.has_messages() {
        return Err(FieldViolation::new("messages", "not together with prompt: leave one of them out"));
    }
    Ok(Source { input: Input::Text(text), bare: own.add_special_tokens == Some(false), spelled })
}

pub(super) fn read_tokens(fields: &mut Fields, unknown: UnknownFields) -> Result<Vec<Whole<u32>>, FieldViolation> {
    let DetokenizeFields { tokens } = fields.read()?;
    fields.check_rest(unknown)?;
    tokens.ok_or_else(|| FieldViolation::new("tokens", "is missing"))
}

/// Off the async threads: the work grows with the text. What was read counts until it is done, and the answer until it is sent.
async fn in_background<T: Serialize>(
    app: &App,
    client: ClientKey,
    read: Option<ByteAccount>,
    work: impl FnOnce(&RequestPreparer, &CancellationToken) -> Result<T, ServiceError> + Send + 'static,
) -> Result<Response, ApiError> {
    let preparer = Arc::clone(&app.preparer);
    let answer = app.engine.unread().account(client);
    let bytes = read.as_ref().map_or(0, ByteAccount::used);
    let done = app.engine.encoders().run(client, bytes, move |cancelled| {
        let _read = read;
        let json = to_json(&work(&preparer, cancelled)?)?;
        let room = answer.take(json.len()).map(|()| answer);
        Ok((json, room.map_err(|_| no_room())?))
    });
    let (json, answer) = done.await?;
    Ok(whole_answer::respond(json, answer))
}

fn no_room() -> ServiceError {
    let message = "answers that are not sent yet take too much memory: try again later".to_owned();
    ServiceError::ResourceExhausted { message, retry_after: RETRY_AFTER }
}
