//! A dump: everything that a store keeps, in one file that says nothing of an engine. So a store
//! moves from one engine to another, and its devices go on where they were.
//!
//! | part | content |
//! |---|---|
//! | first bytes | `anser-dump 1` and a line feed |
//! | frames | `u32 length, big-endian`, an encoded `Frame`: a header, the rows, an end |
//!
//! The rows come table by table in the order of `TABLES`, each table rising by its keys, so that
//! the same data makes the same bytes whatever engine it comes from. The end holds the count and
//! the SHA-256 of each table's frames, and one over these and the header. Sessions that are live
//! are not in it (an export ends them), nor what follows from other rows, such as the look-up of
//! names; nor the master key, nor the bytes of files.
//!
//! What a dump holds is never changed: more of it needs another format number.

mod file;
mod place;
mod row;
#[cfg(test)]
pub(crate) mod tests;

use std::io;

pub use file::{Reader, Summary, Table};
pub use place::Place;

pub(crate) use file::{Header, Next, Writer, hex};
pub(crate) use row::{
    Conversation, Device, Entry, File, Invite, Member, Message, Once, Relation, Row, User,
};

use crate::{StoreError, embedded, mysql};

/// Why an export or an import did not end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The dump can not be read or written.
    #[error("the dump can not be read or written: {0}")]
    Io(#[from] io::Error),
    /// It is cut off, or bytes of it were changed, or it is none.
    #[error("the dump is damaged: {0}")]
    Damaged(String),
    /// A newer version wrote it.
    #[error("the dump is of a newer format; use the newer program that wrote it, or a later one")]
    NewerFormat,
    /// The target holds something.
    #[error("{0} is not empty; import into a new one")]
    NotEmpty(String),
    /// What was imported was read back, and is not what the dump holds.
    #[error(
        "the {0} that were read back from the target are not those of the dump; the target does \
         not serve"
    )]
    Differs(&'static str),
    /// There is nothing to export.
    #[error("there is no store in {0}")]
    NoStore(String),
    /// Others use the database.
    #[error(
        "{0} other connections to the database are open; stop all servers that use it, and leave \
         other clients of it, before it is exported, imported to or given a new epoch"
    )]
    InUse(u64),
    /// The folder does not open.
    #[error(transparent)]
    Folder(#[from] embedded::OpenError),
    /// The database does not open.
    #[error(transparent)]
    Server(#[from] mysql::OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Result of an export or import.
pub type Result<T, E = Error> = std::result::Result<T, E>;
