//! Which web pages of other origins may call: none, unless the operator names them.

use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::client_id::REQUEST_ID;

/// Any origin.
const ANY: &str = "*";

/// Lets pages of `origins` call. A browser sends a preflight request before a JSON body; this layer answers it.
pub(super) fn layer(origins: &[HeaderValue]) -> CorsLayer {
    let origins = match origins.iter().any(|origin| origin == ANY) {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        // OpenAI's clients send a dozen of their own; `*` would leave out `authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([HeaderName::from_static(REQUEST_ID)])
}

/// An origin as a browser sends it, or `*`.
///
/// # Errors
/// What is wrong, as help for the command line.
pub(crate) fn parse_origin(text: &str) -> Result<HeaderValue, String> {
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', ' ', ','])
    });
    if text != ANY && !is_origin {
        return Err("must be an origin such as https://chat.example.com, without a path, or *".to_owned());
    }
    // Browsers send it so.
    text.to_ascii_lowercase().parse().map_err(|_| "must be visible ASCII characters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_no_path() {
        for origin in ["*", "https://chat.example.com", "http://localhost:3000", "chrome-extension://abc"] {
            assert_eq!(parse_origin(origin).unwrap(), origin);
        }
        assert_eq!(parse_origin("https://Chat.Example.com").unwrap(), "https://chat.example.com");
        for text in ["", "example.com", "https://", "https://example.com/", "https://a b", "https://ümlaut\u{7f}"] {
            assert!(parse_origin(text).is_err(), "{text}");
        }
    }
}
