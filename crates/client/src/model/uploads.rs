//! Files that are to be sent, from the call to the moment in which their message is in its
//! conversation. Uploads are done one after another, in the order of the calls.

use anser_proto::{Code, ConversationId, FileId, Seq, seal::Key};

use super::{Model, Outcome};
use crate::{
    error::{Error, ErrorKind, Result},
    event::Event,
    storage::{Change, SavedUpload},
    upload::{Outgoing, UploadHandle, UploadState},
};

/// Files that may wait at a time: their records are in memory.
const UPLOADS_MAX: usize = 1_000;
/// A server that loses a file again and again is not given it for ever.
const TRIES_MAX: u32 = 5;

#[derive(Default)]
pub(crate) struct Uploads {
    list: Vec<Upload>,
    /// The highest number given out.
    last: u64,
}

/// One of them.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) saved: SavedUpload,
    pub(crate) handle: UploadHandle,
    tries: u32,
}

impl Uploads {
    /// What a storage held. A message that is not in the outbox any more is in its conversation.
    pub(super) fn restore(saved: Vec<SavedUpload>, outbox_trimmed: Seq) -> Self {
        let last = saved.iter().map(|saved| saved.number).max().unwrap_or(0);
        let waits = |saved: &SavedUpload| saved.client_seq.is_none_or(|seq| seq > outbox_trimmed);
        let upload = |saved: SavedUpload| {
            let handle = UploadHandle::new(saved.number, saved.size);
            Upload { saved, handle, tries: 0 }
        };
        Self { list: saved.into_iter().filter(waits).map(upload).collect(), last }
    }

    /// The first one whose bytes are to go to the server.
    pub(crate) fn next(&self) -> Option<Upload> {
        self.list.iter().find(|upload| upload.saved.client_seq.is_none()).cloned()
    }

    /// Those whose bytes are not all there yet.
    pub(crate) fn handles(&self) -> Vec<UploadHandle> {
        let goes_out = |upload: &&Upload| upload.saved.client_seq.is_none();
        self.list.iter().filter(goes_out).map(|upload| upload.handle.clone()).collect()
    }

    /// Nobody goes on with them in this process.
    pub(super) fn end(&self) {
        self.handles().iter().for_each(|handle| handle.tell(UploadState::Cancelled));
    }

    /// The server's upload of one of them.
    pub(crate) fn file(&self, number: u64) -> Option<FileId> {
        self.list.iter().find(|upload| upload.saved.number == number)?.saved.file
    }

    fn find(&mut self, number: u64) -> Option<&mut Upload> {
        self.list.iter_mut().find(|upload| upload.saved.number == number)
    }

    fn remove(&mut self, number: u64, outcome: &mut Outcome) -> Option<Upload> {
        let at = self.list.iter().position(|upload| upload.saved.number == number)?;
        outcome.changes.push(Change::Uploaded { number });
        Some(self.list.remove(at))
    }
}

impl Model {
    /// Puts a file behind the others that wait.
    pub(crate) fn put_upload(
        &mut self,
        conversation: ConversationId,
        file: Outgoing,
        outcome: &mut Outcome,
    ) -> Result<UploadHandle> {
        if self.uploads.list.len() >= UPLOADS_MAX {
            let detail = format!("{UPLOADS_MAX} files wait already");
            return Err(Error::new(ErrorKind::OutboxFull, detail));
        }
        self.uploads.last += 1;
        let saved = SavedUpload {
            number: self.uploads.last,
            conversation,
            path: file.path,
            name: file.name,
            media_type: file.media_type,
            size: file.size,
            modified_ns: file.modified_ns,
            key: *Key::random().bytes(),
            pixels: file.pixels,
            preview: file.preview,
            file: None,
            client_seq: None,
        };
        let handle = UploadHandle::new(saved.number, saved.size);
        outcome.changes.push(Change::Upload(saved.clone()));
        self.uploads.list.push(Upload { saved, handle: handle.clone(), tries: 0 });
        Ok(handle)
    }

    /// The server made an upload of it, or does not have it any more.
    pub(crate) fn upload_is(&mut self, number: u64, file: Option<FileId>, outcome: &mut Outcome) {
        if let Some(upload) = self.uploads.find(number) {
            upload.saved.file = file;
            outcome.changes.push(Change::Upload(upload.saved.clone()));
        }
    }

    /// What is to be stored when its message becomes command `client_seq`. Changes nothing.
    pub(crate) fn queued_upload(&self, number: u64, client_seq: Seq) -> Option<Change> {
        let upload = self.uploads.list.iter().find(|upload| upload.saved.number == number)?;
        let client_seq = Some(client_seq);
        Some(Change::Upload(SavedUpload { client_seq, ..upload.saved.clone() }))
    }

    /// Its message is command `client_seq`; see [`Model::queued_upload`].
    pub(crate) fn upload_queued(&mut self, number: u64, client_seq: Seq) {
        if let Some(upload) = self.uploads.find(number) {
            upload.saved.client_seq = Some(client_seq);
            upload.tries += 1;
        }
    }

    /// It will not be sent.
    pub(crate) fn upload_ends(&mut self, number: u64, state: UploadState, outcome: &mut Outcome) {
        let Some(upload) = self.uploads.remove(number, outcome) else { return };
        if let UploadState::Failed { code, reason } = &state {
            let (conversation, name) = (upload.saved.conversation, upload.saved.name);
            let (code, reason) = (*code, reason.clone());
            outcome.events.push(Event::FileFailed { conversation, name, code, reason });
        }
        upload.handle.tell(state);
    }

    /// What became of command `client_seq` is known. A file that the server lost is uploaded again.
    pub(super) fn settle_upload(&mut self, seq: Seq, code: Option<Code>, outcome: &mut Outcome) {
        let is_it = |upload: &&mut Upload| upload.saved.client_seq == Some(seq);
        let Some(upload) = self.uploads.list.iter_mut().find(is_it) else { return };
        let lost = matches!(code, Some(Code::FileGone | Code::FileIncomplete));
        let number = upload.saved.number;
        if let (Some(code), false) = (code, lost) {
            let reason = code.sentence().to_owned();
            self.upload_ends(number, UploadState::Failed { code: Some(code), reason }, outcome);
        } else if !lost {
            upload.handle.tell_sent();
            self.uploads.remove(number, outcome);
        } else if upload.tries >= TRIES_MAX {
            let reason = Code::FileGone.sentence().to_owned();
            self.upload_ends(number, UploadState::Failed { code, reason }, outcome);
        } else {
            (upload.saved.file, upload.saved.client_seq) = (None, None);
            outcome.changes.push(Change::Upload(upload.saved.clone()));
            let size = anser_proto::seal::file::sealed_bytes(upload.saved.size);
            upload.handle.tell(UploadState::Uploading { sent: 0, size });
            outcome.wakes_uploads = true;
        }
    }

    /// Commands up to here are decided, and nobody tells how.
    pub(super) fn settle_uploads_through(&mut self, position: Seq, outcome: &mut Outcome) {
        let is_decided = |seq: &Seq| *seq <= position;
        let queued = self.uploads.list.iter().filter_map(|upload| upload.saved.client_seq);
        for client_seq in queued.filter(is_decided).collect::<Vec<_>>() {
            self.settle_upload(client_seq, None, outcome);
        }
    }

    /// The commands of the old device have other numbers now; what did not move was sent.
    pub(crate) fn uploads_move(&mut self, moved: &[(Seq, Seq)], outcome: &mut Outcome) {
        let queued: Vec<(u64, Seq)> = self
            .uploads
            .list
            .iter()
            .filter_map(|upload| Some((upload.saved.number, upload.saved.client_seq?)))
            .collect();
        for (number, old) in queued {
            match moved.iter().find(|(from, _)| *from == old) {
                Some((_, new)) => {
                    outcome.changes.extend(self.queued_upload(number, *new));
                    self.upload_queued(number, *new);
                }
                None => {
                    let sent = self.uploads.remove(number, outcome);
                    sent.into_iter().for_each(|upload| upload.handle.tell_sent());
                }
            }
        }
    }
}
