//! Errors of the SDK: what kind of thing went wrong, and its source.

use anser_proto::Code;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server can not be reached now, or something in front of it answered in its place: try
    /// again.
    Unreachable,
    /// The server refused, with this code.
    Refused(Code),
    /// There is no conversation with a key: make friends first.
    NotFriends,
    /// As many commands wait as are allowed: wait until the server is back.
    OutboxFull,
    /// The text is longer than a body may be.
    TooLong,
    /// The local storage failed.
    Storage,
    /// Another process has the local storage open.
    InUse,
    /// The client was shut down or its session ended for good.
    Closed,
    /// A file of this machine can not be read or written, or it has changed.
    File,
    /// The bytes of a file are not those that were sent.
    Damaged,
    /// The server answered something that this version does not understand.
    Protocol,
}

/// An error of the SDK.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    kind: ErrorKind,
    detail: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result of an SDK call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), source: None }
    }

    pub(crate) fn with(
        kind: ErrorKind,
        detail: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { kind, detail: detail.into(), source: Some(Box::new(source)) }
    }

    /// A local storage failed: for implementations of [`Storage`](crate::Storage).
    pub fn storage(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let detail = format!("the local storage failed: {source}");
        Self::with(ErrorKind::Storage, detail, source)
    }

    /// Whoever gives out sessions can not be reached now; the client tries again. For
    /// implementations of [`Credentials`](crate::Credentials).
    pub fn unreachable(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let detail = format!("no session can be had now: {source}");
        Self::with(ErrorKind::Unreachable, detail, source)
    }

    /// No session is given any more, for this reason. Ends the client unless the code is retryable.
    /// For implementations of [`Credentials`](crate::Credentials).
    pub fn refused(code: Code) -> Self {
        Self::new(ErrorKind::Refused(code), code.sentence())
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the client is closed")
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The server's code, where it refused with one.
    pub fn code(&self) -> Option<Code> {
        match self.kind {
            ErrorKind::Refused(code) => Some(code),
            _ => None,
        }
    }

    /// Whether the same call can succeed later, unchanged.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ErrorKind::Unreachable | ErrorKind::OutboxFull => true,
            ErrorKind::Refused(code) => code.retryable(),
            _ => false,
        }
    }
}
