//! Files: what the model makes of them, and the same on the store.

use std::collections::BTreeSet;

use anser_proto::{Code, ConversationId, FileId, UserId};

use super::model::Model;
use super::plan::{Files, Pick};
use super::run::{Run, TICK_MS};
use crate::{CreateFile, EndFile, File, FileExpiry, FileState, NewFile};

impl Model {
    /// What a user sees under an id.
    fn file(&self, user: UserId, id: FileId) -> Option<File> {
        let file = self.files.get(&id).copied()?;
        match file.state {
            FileState::Ended => None,
            _ if file.owner == user => Some(file),
            FileState::Referenced => {
                self.conversations[&file.conversation].marks.contains_key(&user).then_some(file)
            }
            FileState::Incomplete | FileState::Complete => None,
        }
    }

    fn refuse(&self, new: &NewFile) -> Option<Code> {
        if self.open(new.owner, new.conversation.0).is_err() {
            return Some(Code::NotMember);
        }
        let mine = self.files.values().filter(|file| file.owner == new.owner);
        let bytes: u128 = mine.map(|file| u128::from(file.size)).sum();
        let fits = bytes + u128::from(new.size) <= u128::from(new.user_bytes_max);
        (!fits).then_some(Code::QuotaExceeded)
    }

    /// A message lists files: all of them become its, or none.
    pub(super) fn list(
        &mut self,
        sender: UserId,
        conversation: ConversationId,
        ids: &[u64],
    ) -> Result<(), Code> {
        if ids.len() > 16 {
            return Err(Code::TooManyFiles);
        }
        for id in ids {
            let file = self.files.get(&FileId(*id));
            let own = file.filter(|file| file.owner == sender && file.conversation == conversation);
            match own.map(|file| file.state) {
                Some(FileState::Complete | FileState::Referenced) => {}
                Some(FileState::Incomplete) => return Err(Code::FileIncomplete),
                Some(FileState::Ended) | None => return Err(Code::FileGone),
            }
        }
        for id in ids {
            let file = self.files.get_mut(&FileId(*id)).expect("looked up above");
            if file.state == FileState::Complete {
                (file.state, file.updated_at_ms) = (FileState::Referenced, self.now_ms);
            }
        }
        Ok(())
    }

    fn due(&self, expiry: &FileExpiry) -> BTreeSet<FileId> {
        let is_due = |file: &&File| match file.state {
            FileState::Incomplete => file.updated_at_ms < expiry.incomplete_before_ms,
            FileState::Complete => file.updated_at_ms < expiry.complete_before_ms,
            FileState::Ended => true,
            FileState::Referenced => false,
        };
        self.files.values().filter(is_due).map(|file| file.id).collect()
    }
}

impl Run {
    pub(super) async fn files(&mut self, what: Files) {
        match what {
            Files::Create { owner, place, size } => {
                let owner = self.user(owner);
                let conversation = self.place(owner, place);
                self.create_file(owner, conversation, size).await;
            }
            Files::Advance { file, is_whole } => self.advance_file(file, is_whole).await,
            Files::End { file, by, by_owner } => self.end_file(file, by, by_owner).await,
            Files::Expire { incomplete_ticks, complete_ticks, files_max } => {
                let before = |ticks: u64| (self.model.now_ms + 1).saturating_sub(ticks * TICK_MS);
                let (incomplete_before_ms, complete_before_ms) =
                    (before(incomplete_ticks), before(complete_ticks));
                let expiry = FileExpiry { incomplete_before_ms, complete_before_ms, files_max };
                self.expire_files(expiry).await;
            }
            Files::Forget { files } => {
                let ids: Vec<_> = files.into_iter().map(|index| self.nth_file(index)).collect();
                let ended = |file: &File| file.state == FileState::Ended;
                self.model.files.retain(|id, file| !(ids.contains(id) && ended(file)));
                self.world.store.forget_files(ids).await.expect("forgets");
            }
        }
    }

    /// One of all that ever were; one that never was, as long as there is none.
    fn nth_file(&self, index: usize) -> FileId {
        self.files.get(index % self.files.len().max(1)).copied().unwrap_or(FileId(3))
    }

    /// The file that a message lists.
    pub(super) fn pick(&self, sender: UserId, conversation: ConversationId, pick: Pick) -> u64 {
        let index = match pick {
            Pick::Own(index) => {
                let files = self.model.files.values();
                let own = files.filter(|f| f.owner == sender && f.conversation == conversation);
                let own: Vec<_> = own.map(|file| file.id).collect();
                match own.get(index % own.len().max(1)) {
                    Some(file) => return file.0,
                    None => index,
                }
            }
            Pick::Any(index) => index,
            Pick::Nothing(id) => return id,
        };
        self.nth_file(index).0
    }

    async fn create_file(&mut self, owner: UserId, conversation: ConversationId, size: u64) {
        let now_ms = self.model.now_ms;
        let new = NewFile { owner, conversation, size, user_bytes_max: ROOM, now_ms };
        let refused = self.model.refuse(&new);
        let made = self.world.store.create_file(new).await.expect("answers");
        let CreateFile::Created(file) = made else {
            return assert_eq!(made, CreateFile::Refused(refused.expect("the model makes it")));
        };
        assert_eq!(refused, None);
        let (created_at_ms, updated_at_ms, state) = (now_ms, now_ms, FileState::Incomplete);
        let id = file.id;
        let expected = File { id, owner, conversation, size, state, created_at_ms, updated_at_ms };
        assert_eq!(file, expected);
        assert!(!self.files.contains(&id), "a fresh id");
        self.files.push(id);
        self.model.files.insert(id, file);
    }

    async fn advance_file(&mut self, file: usize, is_whole: bool) {
        let (id, now_ms) = (self.nth_file(file), self.model.now_ms);
        let known = self.model.files.get_mut(&id).filter(|file| file.state != FileState::Ended);
        let expected = known.map(|file| {
            if file.state == FileState::Incomplete {
                file.updated_at_ms = now_ms;
                if is_whole {
                    file.state = FileState::Complete;
                }
            }
            *file
        });
        let told = self.world.store.advance_file(id, is_whole, now_ms).await.expect("answers");
        assert_eq!(told, expected);
    }

    async fn end_file(&mut self, file: usize, by: usize, by_owner: bool) {
        let id = self.nth_file(file);
        let owner = self.model.files.get(&id).map(|file| file.owner);
        let user = owner.filter(|_| by_owner).unwrap_or_else(|| self.user(by));
        let known = self.model.files.get_mut(&id).filter(|file| file.owner == user);
        let expected = match known {
            None => EndFile::Unknown,
            Some(file) if file.state == FileState::Referenced => EndFile::Referenced,
            Some(file) => {
                file.state = FileState::Ended;
                EndFile::Ended
            }
        };
        assert_eq!(self.world.store.end_file(user, id).await.expect("answers"), expected);
    }

    async fn expire_files(&mut self, expiry: FileExpiry) {
        let due = self.model.due(&expiry);
        let told = self.world.store.expire_files(expiry).await.expect("looks");
        let ended: BTreeSet<_> = told.iter().copied().collect();
        assert_eq!(told.len(), due.len().min(expiry.files_max), "{told:?} of {due:?}");
        assert!(ended.len() == told.len() && ended.is_subset(&due), "{told:?} of {due:?}");
        for id in ended {
            self.model.files.get_mut(&id).expect("it is due").state = FileState::Ended;
        }
    }

    /// What a user sees of all files that ever were.
    pub(super) async fn check_files(&self, user: UserId) {
        for id in self.files.iter().copied() {
            let told = self.world.store.file(user, id).await.expect("reads");
            assert_eq!(told, self.model.file(user, id), "file {id} for {user}");
        }
    }
}

/// Room of a user: some of the sizes fit into it once, others often.
const ROOM: u64 = 5_000;
