//! The files that a message lists: whether it may, and that it does.

use anser_proto::{Code, ConversationId, FileId, UserId, fault::Fault, wire};

use super::IdMap;
use crate::{File, FileState, MESSAGE_FILES_MAX};

/// The files that a command lists; none where it lists more than it may.
pub(crate) fn listed(command: Option<&wire::Command>) -> &[u64] {
    match command.and_then(|command| command.kind.as_ref()) {
        Some(wire::command::Kind::Send(send)) if send.files.len() <= MESSAGE_FILES_MAX => {
            &send.files
        }
        _ => &[],
    }
}

/// Why a message may not list these files. What is not the sender's, or for another conversation,
/// is told like what is not there: an answer must not say that a guessed id exists.
pub(super) fn refusal(
    known: &IdMap<FileId, File>,
    sender: UserId,
    send: &wire::Send,
) -> Option<Code> {
    if send.files.len() > MESSAGE_FILES_MAX {
        return Some(Code::TooManyFiles);
    }
    send.files.iter().find_map(|id| {
        let here = ConversationId(send.conversation);
        let is_own = |file: &&File| file.owner == sender && file.conversation == here;
        match known.get(&FileId(*id)).filter(is_own).map(|file| file.state) {
            Some(FileState::Complete | FileState::Referenced) => None,
            Some(FileState::Incomplete) => Some(Code::FileIncomplete),
            Some(FileState::Ended) | None => Some(Code::FileGone),
        }
    })
}

/// A message lists these files. Gives those that no other listed before.
pub(super) fn refer(known: &mut IdMap<FileId, File>, ids: &[u64], now_ms: u64) -> Vec<File> {
    let mut news = Vec::new();
    if Fault::ForgetReference.is_on() {
        return news;
    }
    for id in ids {
        let file = known.get_mut(&FileId(*id)).filter(|file| file.state == FileState::Complete);
        if let Some(file) = file {
            file.state = FileState::Referenced;
            file.updated_at_ms = now_ms;
            news.push(*file);
        }
    }
    news
}
