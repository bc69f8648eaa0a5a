//! Extractors that refuse what they do not understand, with a sentence: JSON bodies, query strings
//! and ids in paths.

use anser_proto::Code;
use axum::{
    RequestPartsExt,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{HeaderMap, Uri, header, request::Parts},
    middleware::Next,
    response::Response,
};
use serde::de::DeserializeOwned;

use super::error::{Error, Result};

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

/// A query string.
pub(crate) struct Query<T>(pub(crate) T);

/// The variable parts of a path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        if !is_json(request.headers()) {
            return Err(Error::new(
                Code::UnsupportedMedia,
                "Send the body as JSON with the header Content-Type: application/json.",
            ));
        }
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
                BytesRejection::FailedToBufferBody(rejection)
                    if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE =>
                {
                    Error::new(
                        Code::PayloadTooLarge,
                        "The request body is above the limit api.request_bytes_max; send less.",
                    )
                }
                _ => Error::new(Code::Malformed, "The request body ended early; send it again."),
            })?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Send + 'static, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        query(&parts.uri).map(Self)
    }
}

impl<T: DeserializeOwned + Send + 'static, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        use axum::extract::{path::ErrorKind, rejection::PathRejection};
        let axum::extract::Path(value) = parts.extract().await.map_err(|rejection| {
            let text = match rejection {
                PathRejection::FailedToDeserializePathParams(failed) => match failed.into_kind() {
                    ErrorKind::Message(text)
                    | ErrorKind::DeserializeError { message: text, .. } => text,
                    other => other.to_string(),
                },
                other => other.to_string(),
            };
            Error::invalid(format!("The path is not valid: {text}."))
        })?;
        Ok(Self(value))
    }
}

/// Middleware for routes that take no query: a parameter that would be ignored is refused.
pub(crate) async fn refuse_query(request: Request, next: Next) -> Result<Response> {
    match request.uri().query() {
        None | Some("") => Ok(next.run(request).await),
        Some(_) => Err(Error::invalid("This address takes no query parameters; leave them out.")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// What a query string says.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T> {
    let axum::extract::Query(value) =
        axum::extract::Query::try_from_uri(uri).map_err(|rejection| {
            let text = std::error::Error::source(&rejection)
                .map_or_else(|| rejection.to_string(), ToString::to_string);
            Error::invalid(format!("The query string is not valid: {}", with_hint(&text)))
        })?;
    Ok(value)
}

/// What a body says.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    use serde_json::error::Category;
    // serde would take the fields of a struct from an array by their order, which nobody means.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Error::invalid("The body is a JSON array; send an object."));
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => {
            Error::invalid(format!("The body is not valid: {}", with_hint(&error.to_string())))
        }
        Category::Syntax | Category::Eof | Category::Io => {
            Error::new(Code::Malformed, format!("The body is not JSON: {error}."))
        }
    })
}

/// Ends the sentence; with "did you mean" when it is serde's complaint about an unknown name.
fn with_hint(text: &str) -> String {
    let mut names = text.split('`').skip(1).step_by(2);
    let unknown = ["unknown field", "unknown variant"].iter().any(|what| text.contains(what));
    let Some(wrong) = names.next().filter(|_| unknown) else { return format!("{text}.") };
    let nearest = names.map(|name| (distance(wrong, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= HINT_DISTANCE_MAX => {
            format!("{text}; did you mean `{name}`?")
        }
        _ => format!("{text}."),
    }
}

/// Levenshtein distance in characters. Both texts are field names, so it is small work; a long
/// wrong name is cut.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(HINT_CHARS_MAX).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(HINT_CHARS_MAX).enumerate() {
        let mut left_above = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            let change = left_above + usize::from(from != *to);
            left = change.min(left + 1).min(above + 1);
            left_above = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// A typing slip, not another word.
const HINT_DISTANCE_MAX: usize = 2;
const HINT_CHARS_MAX: usize = 64;
