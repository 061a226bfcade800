//! `POST /tokenize` and `POST /detokenize`, in vLLM's shape.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use eoscast_proto::domain::Input;
use eoscast_proto::status::{FieldViolation, ServiceError};
use serde_json::{Value, json};

use super::app::App;
use super::chat::messages;
use super::error::ApiError;
use super::fields::Fields;
use crate::engine::RequestPreparer;

/// What is turned into tokens.
enum TokenizeInput {
    /// As a request with this prompt would be.
    Input(Input),
    /// A text without the tokens that the model wants before a prompt.
    Bare(String),
}

pub(super) async fn tokenize(State(app): State<App>, mut fields: Fields) -> Result<Json<Value>, ApiError> {
    app.check_model(&mut fields)?;
    let source = source(&mut fields)?;
    let spelled = fields.take("return_token_strs")?.unwrap_or(false);
    let max_model_len = app.preparer.token_limit().0;
    in_background(app, move |preparer| {
        let tokens = match source {
            TokenizeInput::Input(input) => preparer.encode(&input)?,
            TokenizeInput::Bare(text) => {
                preparer.tokenizer().encode(&text).map_err(|error| ServiceError::Internal(error.to_string()))?
            }
        };
        let spell = |id: &u32| preparer.tokenizer().token(*id);
        let token_strs = spelled.then(|| tokens.iter().map(spell).collect::<Vec<_>>());
        Ok(json!({
            "count": tokens.len(),
            "max_model_len": max_model_len,
            "tokens": tokens,
            "token_strs": token_strs,
        }))
    })
    .await
}

pub(super) async fn detokenize(State(app): State<App>, mut fields: Fields) -> Result<Json<Value>, ApiError> {
    app.check_model(&mut fields)?;
    let tokens: Vec<u32> = fields.take("tokens")?.ok_or_else(|| FieldViolation::new("tokens", "is missing"))?;
    in_background(app, move |preparer| {
        let tokenizer = preparer.tokenizer();
        let mut bytes = Vec::new();
        for (i, id) in tokens.into_iter().enumerate() {
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
        }
        Ok(json!({ "prompt": String::from_utf8_lossy(&bytes) }))
    })
    .await
}

fn source(fields: &mut Fields) -> Result<TokenizeInput, FieldViolation> {
    if fields.take("add_generation_prompt")? == Some(false) {
        return Err(FieldViolation::new("add_generation_prompt", "must be true: prompts are rendered with it"));
    }
    let Some(text) = fields.take::<String>("prompt")? else { return messages(fields).map(TokenizeInput::Input) };
    let bare = fields.take("add_special_tokens")? == Some(false);
    Ok(if bare { TokenizeInput::Bare(text) } else { TokenizeInput::Input(Input::Text(text)) })
}

/// Off the async threads: the work grows with the text.
async fn in_background(
    app: App,
    work: impl FnOnce(&RequestPreparer) -> Result<Value, ServiceError> + Send + 'static,
) -> Result<Json<Value>, ApiError> {
    let preparer = Arc::clone(&app.preparer);
    let done = tokio::task::spawn_blocking(move || work(&preparer)).await;
    let answer = done.map_err(|error| ServiceError::Internal(format!("tokenising failed: {error}")))??;
    Ok(Json(answer))
}
