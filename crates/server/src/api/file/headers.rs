//! Headers of the tus protocol and of ranges, and those that every answer about files carries.

use std::ops::Range;

use anser_proto::{Code, id::NUMBER_MAX};
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::api::error::{Error, Result};

pub(super) const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(super) const MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
/// The one version of tus.
pub(super) const TUS: &str = "1.0.0";
const BYTES: &str = "application/offset+octet-stream";

/// A range that begins behind the file's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoSuchRange;

/// Middleware: a request of tus names its version.
pub(in crate::api) async fn guard(request: Request, next: Next) -> Response {
    let free = matches!(*request.method(), Method::GET | Method::OPTIONS);
    let version = request.headers().get(RESUMABLE);
    if !free && version.is_none_or(|version| version.as_bytes() != TUS.as_bytes()) {
        let detail = "Send the header Tus-Resumable: 1.0.0, the version that is spoken here.";
        let mut refused = Error::new(Code::UnsupportedTus, detail).into_response();
        refused.headers_mut().insert(VERSION, HeaderValue::from_static(TUS));
        return refused;
    }
    next.run(request).await
}

/// Middleware: no browser shows what strangers uploaded, runs it, or lets it reach this origin.
pub(in crate::api) async fn seal_off(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(RESUMABLE, HeaderValue::from_static(TUS));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    let policy = HeaderValue::from_static("sandbox; default-src 'none'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// The length of a new upload.
pub(super) fn upload_length(headers: &HeaderMap) -> Result<u64> {
    if headers.contains_key(DEFER_LENGTH) {
        return Err(Error::invalid(
            "Tell Upload-Length at once; Upload-Defer-Length is not taken.",
        ));
    }
    number(headers, &LENGTH)
        .ok_or_else(|| Error::invalid("Send the header Upload-Length: the file's bytes."))
}

/// Where the bytes of a request begin.
pub(super) fn upload_offset(headers: &HeaderMap) -> Result<u64> {
    number(headers, &OFFSET)
        .ok_or_else(|| Error::invalid("Send the header Upload-Offset: where the bytes begin."))
}

/// How many bytes the request says that it has.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(headers, &header::CONTENT_LENGTH)
}

/// The media type that tus asks for.
pub(super) fn check_bytes(headers: &HeaderMap) -> Result<()> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if value.is_some_and(|value| value.eq_ignore_ascii_case(BYTES)) {
        return Ok(());
    }
    let detail = "Send the bytes with the header Content-Type: application/offset+octet-stream.";
    Err(Error::new(Code::UnsupportedMedia, detail))
}

/// Which part of `size` bytes is asked for; `None`: all of them. One range; several, or what is
/// none (RFC 9110, 14.2), are answered by the whole.
pub(super) fn range(
    headers: &HeaderMap,
    tag: &str,
    size: u64,
) -> Option<Result<Range<u64>, NoSuchRange>> {
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    if headers.get(header::IF_RANGE).is_some_and(|known| known.as_bytes() != tag.as_bytes()) {
        return None;
    }
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (digits(first), digits(last)) {
        (Some(first), None) if last.is_empty() => first..size,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (None, Some(count)) if first.is_empty() => {
            if count == 0 {
                return Some(Err(NoSuchRange));
            }
            size.saturating_sub(count)..size
        }
        _ => return None,
    };
    Some(if range.is_empty() { Err(NoSuchRange) } else { Ok(range) })
}

/// A header that is a number, once.
fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    digits(value.to_str().ok()?).filter(|number| *number < NUMBER_MAX)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let asked = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(text))]);
            range(&headers, "\"7\"", 100)
        };
        assert_eq!(asked("bytes=0-9"), Some(Ok(0..10)));
        assert_eq!(asked("bytes=90-"), Some(Ok(90..100)));
        assert_eq!(asked("bytes=90-1000"), Some(Ok(90..100)));
        assert_eq!(asked("bytes=-10"), Some(Ok(90..100)));
        assert_eq!(asked("bytes=-1000"), Some(Ok(0..100)));
        for none in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=18446744073709551615-"] {
            assert_eq!(asked(none), Some(Err(NoSuchRange)), "{none}");
        }
        for whole in ["bytes=9-0", "bytes=0-1,4-5", "lines=1-2", "bytes=", "bytes=a-", "bytes=-"] {
            assert_eq!(asked(whole), None, "{whole}");
        }
    }

    #[test]
    fn a_range_of_another_file_is_the_whole() {
        let headers = |tag: &'static str| {
            HeaderMap::from_iter([
                (header::RANGE, HeaderValue::from_static("bytes=5-")),
                (header::IF_RANGE, HeaderValue::from_static(tag)),
            ])
        };
        assert_eq!(range(&headers("\"7\""), "\"7\"", 100), Some(Ok(5..100)));
        assert_eq!(range(&headers("\"8\""), "\"7\"", 100), None);
    }
}
