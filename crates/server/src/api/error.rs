//! What a handler answers when it refuses: a shared code and a sentence for this case.
//!
//! An [`Error`] becomes a response without a body that carries the error; the outermost layer
//! ([`super::layer`]) writes the `application/problem+json`, because only it knows the request id.

use std::{borrow::Cow, time::Duration};

use anser_proto::Code;
use anser_store::StoreError;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::files::Failure;

/// Result of a handler.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was refused.
#[derive(Clone, Debug)]
pub(crate) struct Error {
    /// From the shared table.
    pub(crate) code: Code,
    /// What was wrong here and what to do. Told to the caller, never logged.
    pub(crate) detail: Cow<'static, str>,
    /// For the log only: what failed inside.
    pub(crate) cause: Option<String>,
    retry_after: Option<Duration>,
}

impl Error {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), cause: None, retry_after: None }
    }

    /// The request says something that can not be.
    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// Nothing there, or not the caller's to see: the same answer for both.
    pub(crate) const fn not_found(detail: &'static str) -> Self {
        Self { code: Code::NotFound, detail: Cow::Borrowed(detail), cause: None, retry_after: None }
    }

    /// A code whose sentence says it all.
    pub(crate) fn plain(code: Code) -> Self {
        Self::new(code, code.sentence())
    }

    /// Something is wrong inside; `cause` goes to the log only.
    pub(crate) fn internal(cause: impl ToString) -> Self {
        Self { cause: Some(cause.to_string()), ..Self::plain(Code::Internal) }
    }

    /// Too many attempts; the next one can succeed after `wait`.
    pub(crate) fn rate_limited(wait: Duration) -> Self {
        let seconds = wait.as_secs() + 1;
        let detail = format!("Too many attempts. Wait {seconds} seconds, then try again.");
        Self { retry_after: Some(wait), ..Self::new(Code::RateLimited, detail) }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Unavailable(_) => Code::Unavailable,
            StoreError::DiskFull => Code::DiskFull,
            StoreError::Corrupt(_) => Code::Internal,
        };
        Self { cause: Some(error.to_string()), ..Self::plain(code) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let code = match &failure {
            Failure::Disk(_) => Code::Internal,
            Failure::Away(_) | Failure::Unopened(_) => Code::Unavailable,
        };
        Self { cause: Some(failure.to_string()), ..Self::plain(code) }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status());
        let mut response = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        let headers = response.headers_mut();
        if response_wants_login(self.code) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// A 401 must name a way to authenticate (RFC 9110, 15.5.2).
fn response_wants_login(code: Code) -> bool {
    code.status() == StatusCode::UNAUTHORIZED.as_u16()
}
