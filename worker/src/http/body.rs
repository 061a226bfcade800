//! A body as its fields: what is JSON at all, however it was packed.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Read};
use std::iter;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use tokio_stream::StreamExt;

use super::app::App;
use super::error::ApiError;
use super::fields::Fields;
use crate::bounds::{ByteAccount, client_of, too_many_request_bytes};

/// Largest request body, also when it is unpacked.
pub(super) const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Windows programs put it before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl FromRequest<App> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        // Asking for this type keeps web pages of other origins out: browsers do not send it without asking us first.
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let message = "content-type: must be application/json";
            return Err(ApiError::unreadable(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let encoding = encoding(request.headers())?;
        let account = app.engine.request_bytes().account(client_of(request.extensions()));
        let body = read(request.into_body(), &account).await?;
        let body = unpack(encoding, &body)?;
        account.take(body.len().saturating_sub(account.used())).map_err(|_| too_many_request_bytes())?;
        let json = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body);
        Fields::from_json(json, Some(account)).map_err(|error| {
            ApiError::unreadable(StatusCode::BAD_REQUEST, format!("body must be a json object: {error}"))
        })
    }
}

/// Reads a body, whose bytes count as they arrive.
async fn read(body: Body, account: &ByteAccount) -> Result<Vec<u8>, ApiError> {
    let (mut frames, mut bytes) = (body.into_data_stream(), Vec::new());
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| not_arrived(&error))?;
        if bytes.len() + frame.len() > MAX_BODY_BYTES {
            return Err(too_large());
        }
        account.take(frame.len()).map_err(|_| too_many_request_bytes())?;
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes)
}

/// The connection ended, or says that the body takes too long.
fn not_arrived(error: &(dyn Error + 'static)) -> ApiError {
    let mut causes = iter::successors(Some(error), |&error| error.source());
    let is_slow = causes
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut));
    if is_slow {
        ApiError::unreadable(StatusCode::REQUEST_TIMEOUT, "the body arrived too slowly")
    } else {
        ApiError::unreadable(StatusCode::BAD_REQUEST, format!("body cannot be read: {error}"))
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let mut encoding = Encoding::Identity;
    let names = headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for name in names.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()) {
        let next = match name.as_str() {
            "" | "identity" => continue,
            "gzip" | "x-gzip" => Encoding::Gzip,
            "deflate" => Encoding::Deflate,
            _ => return Err(unsupported(&format!("`{name}` is not read"))),
        };
        if encoding != Encoding::Identity {
            return Err(unsupported("packing a body twice is not read"));
        }
        encoding = next;
    }
    Ok(encoding)
}

fn unsupported(what: &str) -> ApiError {
    let message = format!("content-encoding: {what}: send gzip, deflate or identity");
    ApiError::unreadable(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
}

fn too_large() -> ApiError {
    ApiError::unreadable(StatusCode::PAYLOAD_TOO_LARGE, format!("body exceeds {} MiB", MAX_BODY_BYTES >> 20))
}

/// What a body holds; never more than [`MAX_BODY_BYTES`], whatever it claims to unpack to.
fn unpack(encoding: Encoding, body: &[u8]) -> Result<Cow<'_, [u8]>, ApiError> {
    let most = MAX_BODY_BYTES as u64 + 1;
    let mut unpacked = Vec::new();
    let read = match encoding {
        Encoding::Identity => return Ok(body.into()),
        Encoding::Gzip => MultiGzDecoder::new(body).take(most).read_to_end(&mut unpacked),
        Encoding::Deflate => ZlibDecoder::new(body).take(most).read_to_end(&mut unpacked),
    };
    read.map_err(|error| {
        let message = format!("content-encoding: the body cannot be unpacked: {error}");
        ApiError::unreadable(StatusCode::BAD_REQUEST, message)
    })?;
    if unpacked.len() > MAX_BODY_BYTES { Err(too_large()) } else { Ok(unpacked.into()) }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_body_that_arrives_too_slowly_is_told_from_one_that_breaks_off() {
        let status =
            |kind: io::ErrorKind| not_arrived(&axum::Error::new(io::Error::from(kind))).into_response().status();
        assert_eq!(status(io::ErrorKind::TimedOut), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(status(io::ErrorKind::UnexpectedEof), StatusCode::BAD_REQUEST);
    }
}
