//! Uploads: takes one file after another to the server, part by part, and puts its message into the
//! outbox when all of it is there. Runs beside the connection, and ends with it.
//!
//! At most two parts are in memory: one that is sent, and one that is sealed meanwhile.

use std::time::{Duration, Instant};

use anser_proto::{Code, FileId, seal::file::sealed_bytes};
use bytes::Bytes;
use tracing::debug;

use super::{
    Task,
    backoff::{self, Backoff},
};
use crate::{
    error::{Error, ErrorKind, Result},
    event::Content,
    file::File,
    handle::SendHandle,
    model::{Outcome, Upload},
    outbox::Item,
    sealing::{Part, Reader},
    shared::seal,
    storage::SavedUpload,
    upload::UploadState,
};

/// Sealed bytes of a part, about: each costs the server a sync. Small at first, because the line
/// may be slow.
const PART_BYTES_MIN: usize = 64 * 1024;
const PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A part that went faster than this is followed by a larger one; slower than eight times this, by
/// a smaller one.
const PART_TIME: Duration = Duration::from_secs(1);

/// Why an upload does not end with a message.
enum Broken {
    /// Not now.
    Later(Error),
    /// The server does not have what was uploaded.
    Lost,
    /// Never.
    Never(Error),
}

impl Task {
    /// Does what is to be uploaded, for ever.
    ///
    /// It never ends by itself.
    pub(super) async fn uploads(&self) {
        let mut backoff = Backoff::new(self.backoff);
        loop {
            let next = self.shared.local.lock().model.uploads.next();
            let Some(upload) = next else {
                self.shared.uploads.notified().await;
                continue;
            };
            let done = tokio::select! {
                biased;
                () = upload.handle.cancelled() => None,
                done = self.upload(&upload) => Some(done),
            };
            let number = upload.saved.number;
            let Err(broken) = done.unwrap_or_else(|| Err(Broken::Never(Error::closed()))) else {
                backoff = Backoff::new(self.backoff);
                continue;
            };
            match broken {
                Broken::Later(error) => {
                    debug!(%error, "an upload waits");
                    let wait = backoff.next(backoff::random());
                    let _ = tokio::time::timeout(wait, upload.handle.cancelled()).await;
                }
                Broken::Lost => {
                    self.change(|model, outcome| model.upload_is(number, None, outcome));
                }
                Broken::Never(error) => self.give_up(&upload, &error).await,
            }
        }
    }

    async fn give_up(&self, upload: &Upload, error: &Error) {
        let state = match error.kind() {
            ErrorKind::Closed => UploadState::Cancelled,
            _ => UploadState::Failed { code: error.code(), reason: error.to_string() },
        };
        let file = self.shared.local.lock().model.uploads.file(upload.saved.number);
        self.change(|model, outcome| model.upload_ends(upload.saved.number, state, outcome));
        if let Some(file) = file {
            // Else the server collects it in a while.
            let _ = self.shared.authorized().delete_file(file).await;
        }
    }

    async fn upload(&self, upload: &Upload) -> Result<(), Broken> {
        let saved = &upload.saved;
        let mut reader = Reader::open(saved).await.map_err(Broken::Never)?;
        let (file, mut offset) = self.begin(saved).await?;
        let size = sealed_bytes(saved.size);
        let tell = |sent| upload.handle.tell(UploadState::Uploading { sent, size });
        let mut wanted = PART_BYTES_MIN;
        let (mut part, mut spare);
        (reader, part) = reader.part(offset, wanted, Vec::new()).await.map_err(Broken::Never)?;
        spare = Vec::new();
        tell(offset);
        while offset < size {
            let started = Instant::now();
            let (sent, next) = tokio::join!(
                self.send(file, offset, &part),
                reader.part(part.end(), wanted, spare)
            );
            offset = sent?;
            if offset < part.end() {
                // What follows the hole would be refused: start again from where the server is.
                return Err(Broken::Later(Error::new(ErrorKind::Unreachable, "a part was cut")));
            }
            let (now, following) = next.map_err(Broken::Never)?;
            spare = std::mem::replace(&mut part, following).recycle();
            reader = now;
            tell(offset);
            wanted = match started.elapsed() {
                fast if fast < PART_TIME => (wanted * 2).min(PART_BYTES_MAX),
                slow if slow > PART_TIME * 8 => (wanted / 2).max(PART_BYTES_MIN),
                _ => wanted,
            };
        }
        let sha256 = reader.finish(saved).await.map_err(Broken::Never)?;
        self.queue(upload, file, sha256)
    }

    /// The upload at the server, and how far it is.
    async fn begin(&self, saved: &SavedUpload) -> Result<(FileId, u64), Broken> {
        let rest = self.shared.authorized();
        if let Some(file) = saved.file {
            return Ok((file, rest.file_offset(file).await.map_err(sorted)?));
        }
        let file = rest.create_file(saved.conversation, sealed_bytes(saved.size)).await;
        let file = file.map_err(sorted)?;
        self.change(|model, outcome| model.upload_is(saved.number, Some(file), outcome));
        Ok((file, 0))
    }

    /// Sends a part; after a break, from where the server is. Gives where it is then.
    async fn send(&self, file: FileId, mut offset: u64, part: &Part) -> Result<u64, Broken> {
        let mut backoff = Backoff::new(self.backoff);
        loop {
            let rest = self.shared.authorized();
            let Some(bytes) = part.from(offset) else { return Ok(offset) };
            let error = match rest.append_file(file, offset, bytes).await {
                Ok(offset) => return Ok(offset),
                Err(error) => error,
            };
            debug!(%error, "a part of an upload broke");
            let conflict = error.code() == Some(Code::OffsetConflict);
            // A refused connection and one that broke on the way look alike: the offset tells.
            if !conflict && !error.is_retryable() {
                return Err(sorted(error));
            }
            if backoff.failures() >= PART_TRIES {
                return Err(Broken::Later(error));
            }
            let wait = backoff.next(backoff::random());
            tokio::time::sleep(wait).await;
            offset = rest.file_offset(file).await.map_err(sorted)?;
        }
    }

    /// The message, in the transaction that ends the upload: there is one of them.
    fn queue(&self, upload: &Upload, file: FileId, sha256: [u8; 32]) -> Result<(), Broken> {
        let saved = &upload.saved;
        let content = Content::File(File {
            id: file,
            name: saved.name.clone(),
            media_type: saved.media_type.clone(),
            size: saved.size,
            sha256,
            pixels: saved.pixels,
            preview: Bytes::copy_from_slice(&saved.preview),
            key: anser_proto::seal::Key::new(saved.key),
        });
        let mut local = self.shared.local.lock();
        let client_seq = local.model.outbox.head() + 1;
        let command =
            seal(&local.model, saved.conversation, client_seq, &content).map_err(Broken::Never)?;
        let mut outcome = Outcome::default();
        local.model.upload_queued(saved.number, client_seq, &mut outcome);
        let handle = SendHandle::new(client_seq);
        let mut item = Item::new(command, Some(content));
        item.handle = Some(handle.clone());
        local.enqueue_with(item, &outcome.changes).map_err(Broken::Later)?;
        drop(local);
        upload.handle.tell(UploadState::Queued(handle));
        self.shared.work.notify_one();
        Ok(())
    }

    /// Changes what is known of uploads. A storage that fails now fails the next entry, too.
    fn change(&self, change: impl FnOnce(&mut crate::model::Model, &mut Outcome)) {
        let mut outcome = Outcome::default();
        let mut local = self.shared.local.lock();
        change(&mut local.model, &mut outcome);
        if let Err(error) = self.shared.settle(&mut local, &mut outcome) {
            debug!(%error, "an upload's state is not stored");
        }
    }
}

/// What an answer of the server means.
fn sorted(error: Error) -> Broken {
    match error.code() {
        Some(Code::NotFound | Code::FileGone) => Broken::Lost,
        // The task logs in as a new device, or ends.
        Some(Code::Unauthenticated) => Broken::Later(error),
        _ if error.is_retryable() => Broken::Later(error),
        _ => Broken::Never(error),
    }
}

/// Tries of a part before all is looked at anew.
const PART_TRIES: u32 = 8;
