//! The calls about files: tus 1.0.0 for what goes out, ranges for what comes in.

use std::{io, time::Duration};

use anser_proto::{Code, ConversationId, FileId};
use bytes::Bytes;
use futures_util::Stream;
use reqwest::{
    Body, Method, RequestBuilder, Response, StatusCode,
    header::{self, HeaderMap},
};

use super::{Authorized, Rest};
use crate::error::{Error, ErrorKind, Result};

/// A request of an upload as a whole: it ends by itself long before, and silence is bounded by who
/// feeds it.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3600);
/// A download as a whole: silence is bounded by who reads it.
const FILE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Names the version of tus. The server puts it on each answer about files; what is in front of it
/// does not.
const TUS: &str = "Tus-Resumable";

impl Authorized {
    /// Begins an upload of `size` sealed bytes.
    pub(crate) async fn create_file(&self, to: ConversationId, size: u64) -> Result<FileId> {
        let request = self.tus(Method::POST, &format!("/files?conversation={to}"));
        location(self.rest.answer(request.header("Upload-Length", size)).await?.headers())
    }

    /// How many sealed bytes the server has on disk.
    pub(crate) async fn file_offset(&self, id: FileId) -> Result<u64> {
        let request = self.tus(Method::HEAD, &format!("/files/{id}"));
        offset(self.rest.answer(request).await?.headers())
    }

    /// Adds sealed bytes at an offset, as many as `body` gives. Gives how many the server has on
    /// disk then.
    pub(crate) async fn append_file(
        &self,
        id: FileId,
        at: u64,
        body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<u64> {
        let request = self
            .tus(Method::PATCH, &format!("/files/{id}"))
            .header("Upload-Offset", at)
            .header(header::CONTENT_TYPE, "application/offset+octet-stream")
            .timeout(APPEND_TIMEOUT);
        offset(self.rest.answer(request.body(Body::wrap_stream(body))).await?.headers())
    }

    /// Gives an upload up.
    pub(crate) async fn delete_file(&self, id: FileId) -> Result<()> {
        let request = self.tus(Method::DELETE, &format!("/files/{id}"));
        self.rest.answer(request).await.map(drop)
    }

    /// The sealed bytes of a file from an offset on.
    pub(crate) async fn fetch_file(&self, id: FileId, from: u64) -> Result<Response> {
        let mut request = self.request(Method::GET, &format!("/files/{id}")).timeout(FILE_TIMEOUT);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let answer = self.rest.answer(request).await?;
        if !is_from_server(answer.headers()) {
            // A page of a proxy must not be taken for bytes that somebody changed.
            return Err(stranger("sent something"));
        }
        let wanted = if from > 0 { 206 } else { 200 };
        if answer.status() != wanted {
            return Err(Error::new(ErrorKind::Protocol, "the server does not go on where asked"));
        }
        Ok(answer)
    }

    fn tus(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).header(TUS, "1.0.0")
    }
}

impl Rest {
    /// An answer that is a success.
    async fn answer(&self, request: RequestBuilder) -> Result<Response> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let is_servers = is_from_server(answer.headers());
        let body = self.body(answer).await?;
        Err(refused(status, is_servers, &body))
    }
}

/// What an answer about files that is no success says.
fn refused(status: StatusCode, is_servers: bool, body: &[u8]) -> Error {
    if !is_servers && matches!(status.as_u16(), 404 | 410) {
        // A proxy says so while it knows no server. Whoever believes it gives up what is there.
        return stranger(&format!("answered {status}"));
    }
    // An answer to HEAD has no body that could name the code.
    let code = match status.as_u16() {
        _ if !body.is_empty() => None,
        401 => Some(Code::Unauthenticated),
        404 => Some(Code::NotFound),
        410 => Some(Code::FileGone),
        500..600 if is_servers => Some(Code::Unavailable),
        _ => None,
    };
    match code {
        Some(code) => Error::new(ErrorKind::Refused(code), code.sentence()),
        None => super::refused(status, body),
    }
}

fn is_from_server(headers: &HeaderMap) -> bool {
    headers.contains_key(TUS)
}

/// It passes: the server itself answers otherwise.
fn stranger(did: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("something in front of the server {did}"))
}

/// The upload that a success names.
fn location(headers: &HeaderMap) -> Result<FileId> {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let id = location.and_then(|path| path.rsplit('/').next()?.parse().ok());
    id.ok_or_else(|| stranger("answered without the upload's address"))
}

/// How far a success says that the server is.
fn offset(headers: &HeaderMap) -> Result<u64> {
    let value = headers.get("Upload-Offset").and_then(|value| value.to_str().ok());
    let offset = value.and_then(|value| value.parse().ok());
    offset.ok_or_else(|| stranger("answered without the upload's offset"))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    const PAGE: &[u8] = b"<html>404 page not found</html>";

    fn told(status: u16, is_servers: bool, body: &[u8]) -> Error {
        refused(StatusCode::from_u16(status).unwrap(), is_servers, body)
    }

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn only_the_server_itself_says_that_a_file_is_not_there() {
        assert!(is_from_server(&headers("tus-resumable", "1.0.0")));
        assert!(!is_from_server(&headers("server", "nginx")));
        for (status, code) in [(404, Code::NotFound), (410, Code::FileGone)] {
            assert_eq!(told(status, true, b"").code(), Some(code));
            for body in [&b""[..], PAGE] {
                let error = told(status, false, body);
                assert_eq!((error.code(), error.is_retryable()), (None, true), "{status}");
            }
        }
    }

    #[test]
    fn an_answer_to_head_tells_by_its_status() {
        assert_eq!(told(401, true, b"").code(), Some(Code::Unauthenticated));
        assert_eq!(told(507, true, b"").code(), Some(Code::Unavailable));
        for status in [408, 425, 429, 502, 503, 504] {
            assert!(told(status, false, b"").is_retryable(), "{status}");
            assert!(told(status, false, PAGE).is_retryable(), "{status}");
        }
        for status in [403, 413] {
            assert!(!told(status, false, b"").is_retryable(), "{status}");
            assert!(!told(status, false, PAGE).is_retryable(), "{status}");
        }
    }

    #[test]
    fn a_success_without_what_it_must_tell_is_not_the_servers() {
        assert_eq!(location(&headers("location", "/v1/files/7")).unwrap(), FileId(7));
        assert_eq!(offset(&headers("upload-offset", "42")).unwrap(), 42);
        let portal = headers("location", "/welcome");
        assert!(location(&portal).unwrap_err().is_retryable());
        assert!(location(&HeaderMap::new()).unwrap_err().is_retryable());
        assert!(offset(&portal).unwrap_err().is_retryable());
    }
}
