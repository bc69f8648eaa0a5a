//! Uploads: takes one file after another to the server, request by request, and puts its message
//! into the outbox when all of it is there. Runs beside the connection, and ends with it.
//!
//! A request takes sealed pieces as long as it is short enough for people to see a progress; what
//! follows is sealed meanwhile ([`crate::sealing`]). After a break it goes on from where the server
//! is.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use anser_proto::{Code, FileId, seal::file::sealed_bytes};
use bytes::Bytes;
use futures_util::stream;
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
    sealing::{Pieces, Reader},
    shared::seal,
    storage::SavedUpload,
    upload::UploadState,
};

/// Sealed bytes of a request, about. Each costs the server a sync that nothing overlaps, and tells
/// how far the file is. Small at first, because the line may be slow.
const REQUEST_BYTES_MIN: u64 = 64 * 1024;
const REQUEST_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A request ends after this time, however few bytes went out. One that sent all that it was to
/// send is followed by a larger one.
const REQUEST_TIME: Duration = Duration::from_secs(1);
/// A line that takes nothing for so long, or a server that does not answer, is taken for broken.
const SILENCE_MAX: Duration = Duration::from_secs(60);

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
                Broken::Later(error) => debug!(%error, "an upload waits"),
                // It waits as well: a server that loses each upload is not to be flooded.
                Broken::Lost => {
                    debug!("the server does not have an upload any more");
                    self.change(|model, outcome| model.upload_is(number, None, outcome));
                }
                Broken::Never(error) => {
                    self.give_up(&upload, &error).await;
                    continue;
                }
            }
            let wait = backoff.next(backoff::random());
            let _ = tokio::time::timeout(wait, upload.handle.cancelled()).await;
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
        let (mut wanted, mut backoff) = (REQUEST_BYTES_MIN, Backoff::new(self.backoff));
        tell(offset);
        while offset < size {
            let (begun, sealing) = (offset, reader.seal(offset));
            let broken = loop {
                let flight = Flight::new(sealing.pieces(), wanted);
                let sent = self.send(file, offset, &flight).await;
                let taken = flight.taken.load(Relaxed);
                let Ok(now) = sent else { break sent.err() };
                if now != offset + taken || taken == 0 {
                    offset = now;
                    break None;
                }
                offset = now;
                tell(offset);
                if offset == size {
                    break None;
                }
                wanted = (if taken < wanted { taken } else { taken * 4 })
                    .clamp(REQUEST_BYTES_MIN, REQUEST_BYTES_MAX);
            };
            // First, because a file that can not be read ends a request, too.
            reader = sealing.end().await.map_err(Broken::Never)?;
            if offset < size {
                pause(broken, &mut backoff).await?;
                offset = self.shared.authorized().file_offset(file).await.map_err(sorted)?;
                if offset > begun {
                    backoff = Backoff::new(self.backoff);
                }
                tell(offset);
            }
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

    /// One request. Gives where the server is then.
    async fn send(&self, file: FileId, offset: u64, flight: &Flight) -> Result<u64> {
        let rest = self.shared.authorized();
        let mut answer = std::pin::pin!(rest.append_file(file, offset, flight.body()));
        loop {
            let taken = flight.taken.load(Relaxed);
            if let Ok(answer) = tokio::time::timeout(SILENCE_MAX, &mut answer).await {
                return answer;
            }
            if flight.taken.load(Relaxed) == taken {
                return Err(Error::new(ErrorKind::Unreachable, "the line takes nothing"));
            }
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
        let queued = local.model.queued_upload(saved.number, client_seq);
        let handle = SendHandle::new(client_seq);
        let mut item = Item::new(command, Some(content));
        item.handle = Some(handle.clone());
        local.enqueue_with(item, queued.as_slice()).map_err(Broken::Later)?;
        // Not before it is stored: else an upload that the storage refused is never tried again.
        local.model.upload_queued(saved.number, client_seq);
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

/// Waits after a request that broke, or gives up for now.
async fn pause(broken: Option<Error>, backoff: &mut Backoff) -> Result<(), Broken> {
    let error = broken.unwrap_or_else(|| {
        Error::new(ErrorKind::Unreachable, "the server has other bytes than were sent")
    });
    debug!(%error, "a request of an upload broke");
    let conflict = error.code() == Some(Code::OffsetConflict);
    // A refused connection and one that broke on the way look alike: the offset tells.
    if !conflict && !error.is_retryable() {
        return Err(sorted(error));
    }
    if backoff.failures() >= TRIES_MAX {
        return Err(Broken::Later(error));
    }
    let wait = backoff.next(backoff::random());
    tokio::time::sleep(wait).await;
    Ok(())
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

/// What one request takes.
struct Flight {
    pieces: Pieces,
    wanted: u64,
    /// Bytes that went out, or are on their way.
    taken: Arc<AtomicU64>,
}

impl Flight {
    fn new(pieces: Pieces, wanted: u64) -> Self {
        Self { pieces, wanted, taken: Arc::default() }
    }

    fn body(&self) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        let (pieces, wanted, taken) = (self.pieces.clone(), self.wanted, self.taken.clone());
        let started = Instant::now();
        stream::poll_fn(move |cx| {
            let is_over = taken.load(Relaxed) > 0 && started.elapsed() > REQUEST_TIME;
            if is_over || taken.load(Relaxed) >= wanted {
                return Poll::Ready(None);
            }
            pieces.poll(cx).map(|piece| {
                piece.map(|piece| {
                    taken.fetch_add(piece.len() as u64, Relaxed);
                    Ok(piece)
                })
            })
        })
    }
}

/// Requests in a row that brought nothing, before all is looked at anew.
const TRIES_MAX: u32 = 8;
