//! What goes into the verbs of files, and what comes out.

use anser_proto::{Code, ConversationId, FileId, UserId};

/// How many files one message may list: as many as a person sends at once, and few enough that the
/// rows of a batch stay few.
pub const MESSAGE_FILES_MAX: usize = 16;

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Its bytes are still coming.
    Incomplete,
    /// All bytes are on disk; no message names it.
    Complete,
    /// A message names it: its conversation's members can fetch it, and it stays.
    Referenced,
    /// It was given up, or nobody named it in time. Nothing can be done with it any more; its bytes
    /// are to be removed, then its row.
    Ended,
}

/// An uploaded file. Its bytes are not in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// The id.
    pub id: FileId,
    /// Who uploads it.
    pub owner: UserId,
    /// For which conversation.
    pub conversation: ConversationId,
    /// Its sealed length in bytes.
    pub size: u64,
    /// How far it is.
    pub state: FileState,
    /// When it was made.
    pub created_at_ms: u64,
    /// When bytes came (to within an hour), it was completed, or a message named it.
    pub updated_at_ms: u64,
}

/// A file to make.
#[derive(Clone, Copy, Debug)]
pub struct NewFile {
    /// Who uploads it.
    pub owner: UserId,
    /// For which conversation.
    pub conversation: ConversationId,
    /// Its sealed length in bytes.
    pub size: u64,
    /// Refuse when the owner's files would take more than this.
    pub user_bytes_max: u64,
    /// Now.
    pub now_ms: u64,
}

/// Result of making a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateFile {
    /// Made, incomplete.
    Created(File),
    /// `not_member` (also when the conversation is closed) or `quota_exceeded`.
    Refused(Code),
}

/// Result of giving a file up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndFile {
    /// It is ended now, or was.
    Ended,
    /// A message names it: it stays.
    Referenced,
    /// The user has no such file.
    Unknown,
}

/// Which files nobody waits for any more.
#[derive(Clone, Copy, Debug)]
pub struct FileExpiry {
    /// Incomplete ones that were updated before this moment.
    pub incomplete_before_ms: u64,
    /// Complete ones that were updated before this moment.
    pub complete_before_ms: u64,
    /// At most so many.
    pub files_max: usize,
}
