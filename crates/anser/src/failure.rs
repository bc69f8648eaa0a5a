//! How a command fails: what to tell, and the exit status, which scripts may rely on.

use std::process::ExitCode;

use anser_client::ErrorKind;

/// For `--help`.
pub(crate) const EXIT_CODES_HELP: &str = "Exit status: 0 done; 1 failed, or a check failed; 2 wrong \
usage; 69 the server can not be reached; 70 the disk failed; 77 not allowed; 78 the configuration \
is wrong; 130 stopped by a second signal";

/// Why a command ends without having done its work.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    error: anyhow::Error,
}

/// Result of a command.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// A check of the command's own failed, and was told already or says it here.
    pub(crate) fn check(text: impl Into<String>) -> Self {
        Self { status: 1, error: anyhow::Error::msg(text.into()) }
    }

    /// The command line asks for something that does not exist; as clap's own usage errors.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { status: 2, error: anyhow::Error::msg(text.into()) }
    }

    /// `EX_UNAVAILABLE` of sysexits.h: the server can not be reached.
    pub(crate) fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self { status: 69, error: error.into() }
    }

    /// `EX_NOPERM`: the server says no.
    pub(crate) fn not_allowed(error: impl Into<anyhow::Error>) -> Self {
        Self { status: 77, error: error.into() }
    }

    /// `EX_CONFIG`.
    pub(crate) fn config(error: impl Into<anyhow::Error>) -> Self {
        Self { status: 78, error: error.into() }
    }

    /// Tells the error with its causes, and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("anser: {self}");
        ExitCode::from(self.status)
    }
}

impl std::error::Error for Failure {}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = self.error.to_string();
        f.write_str(&told)?;
        for cause in self.error.chain().skip(1) {
            let cause = cause.to_string();
            // Some errors tell their cause themselves.
            if !told.contains(&cause) {
                write!(f, ": {cause}")?;
            }
            told = cause;
        }
        Ok(())
    }
}

impl From<anyhow::Error> for Failure {
    /// A failure that travelled as an error keeps its status.
    fn from(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Self { status: 1, error })
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::from(anyhow::Error::from(error))
    }
}

impl From<anser_client::Error> for Failure {
    fn from(error: anser_client::Error) -> Self {
        match error.kind() {
            ErrorKind::Unreachable => Self::unavailable(error),
            ErrorKind::Refused(_) => Self::not_allowed(error),
            _ => Self::from(anyhow::Error::from(error)),
        }
    }
}
