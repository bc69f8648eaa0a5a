//! What commands print. A reader that leaves early, such as `head`, ends the output and no more:
//! it read what it wanted.

use std::io::{self, Write as _};

use crate::failure::Result;

/// Writes the text to standard output.
///
/// # Errors
/// It can not be written, for another reason than that nobody reads it any more.
pub(crate) fn print(text: &str) -> Result {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
