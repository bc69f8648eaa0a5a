//! Files on their way out: what a caller asks for, and what it can follow.

use std::{fs::File as LocalFile, io::Read as _, path::Path, sync::Arc, time::UNIX_EPOCH};

use anser_proto::{Code, seal::file::sealed_bytes};
use tokio::sync::watch;

use crate::{
    error::{Error, ErrorKind, Result},
    file::safe_name,
    handle::SendHandle,
    picture,
};

/// A file to send; see [`Client::send_file`](crate::Client::send_file).
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its name for the others.
    pub name: String,
    /// Such as `image/png`; empty: not known.
    pub media_type: String,
    /// Its width and height, when it is a picture.
    pub pixels: Option<(u32, u32)>,
    /// A small picture to show before the file is fetched, at most 8 KiB; empty: none.
    pub preview: Vec<u8>,
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) modified_ns: u64,
}

/// Largest preview: together with the rest it must fit a body.
const PREVIEW_BYTES_MAX: usize = 8 * 1024;

impl Outgoing {
    /// Looks at a file: name, size, and for PNG, JPEG, GIF and WebP the media type and the number
    /// of pixels. Fields can be changed before it is sent.
    ///
    /// # Errors
    /// `File`: it can not be read, or is a folder, or its path is not UTF-8.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let told = path.display();
        let failed = |error: std::io::Error| {
            Error::with(ErrorKind::File, format!("{told} can not be read: {error}"), error)
        };
        // Absolute, because a later process that goes on may be started elsewhere.
        let whole = std::path::absolute(path).map_err(failed)?;
        let whole = whole.to_str().ok_or_else(|| {
            Error::new(ErrorKind::File, format!("the path {told} is not UTF-8; rename the file"))
        })?;
        let mut file = LocalFile::open(path).map_err(failed)?;
        let (size, modified_ns) = identity(&file).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Error::new(ErrorKind::File, format!("{told} is no file")));
        }
        let mut head = Vec::new();
        (&mut file).take(picture::HEAD_BYTES).read_to_end(&mut head).map_err(failed)?;
        let seen = picture::look(&head);
        Ok(Self {
            name: safe_name(whole),
            media_type: seen.map_or_else(String::new, |seen| seen.media_type.to_owned()),
            pixels: seen.map(|seen| (seen.width, seen.height)),
            preview: Vec::new(),
            path: whole.to_owned(),
            size,
            modified_ns,
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let too_long = self.preview.len() > PREVIEW_BYTES_MAX || self.media_type.len() > 255;
        if too_long || self.name.is_empty() || safe_name(&self.name) != self.name {
            let detail = "the name is a path or too long, or the preview is above 8 KiB";
            return Err(Error::new(ErrorKind::TooLong, detail));
        }
        Ok(())
    }
}

/// Size and time of the last change: whether it is still the same file.
pub(crate) fn identity(file: &LocalFile) -> std::io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((metadata.len(), u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX)))
}

/// How far a file is.
#[derive(Clone, Debug)]
pub enum UploadState {
    /// Its bytes are going to the server, or wait for it.
    Uploading {
        /// Sealed bytes that the server has on disk.
        sent: u64,
        /// Sealed bytes in all.
        size: u64,
    },
    /// All bytes are there, and the message that names them is in the outbox.
    Queued(SendHandle),
    /// The message is in its conversation.
    Sent(SendHandle),
    /// It was given up by [`UploadHandle::cancel`], or the client ended and the next one on this
    /// storage goes on.
    Cancelled,
    /// It can not be sent.
    Failed {
        /// The server's code, where it refused.
        code: Option<Code>,
        /// One sentence for people.
        reason: String,
    },
}

/// Follows a file that is being sent; a cheap clone. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct UploadHandle(Arc<Followed>);

#[derive(Debug)]
struct Followed {
    number: u64,
    state: watch::Sender<UploadState>,
    cancelled: watch::Sender<bool>,
}

impl UploadHandle {
    pub(crate) fn new(number: u64, size: u64) -> Self {
        let state = UploadState::Uploading { sent: 0, size: sealed_bytes(size) };
        let (state, cancelled) = (watch::Sender::new(state), watch::Sender::new(false));
        Self(Arc::new(Followed { number, state, cancelled }))
    }

    /// Its number among the uploads of this client.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// How far it is, and a way to wait for changes.
    pub fn state(&self) -> watch::Receiver<UploadState> {
        self.0.state.subscribe()
    }

    /// Gives it up, unless its message is in the outbox already.
    pub fn cancel(&self) {
        self.0.cancelled.send_replace(true);
    }

    /// Waits until the message is in its conversation; uploading again what the server lost is part
    /// of it. The handle that it gives follows the message on.
    ///
    /// # Errors
    /// `File`: the file can not be read or has changed. `Refused`: mostly `file_too_large`,
    /// `quota_exceeded` or `not_member`. `Closed`: it was cancelled, or the client ended; then it
    /// goes on when a client is opened on this storage again.
    pub async fn sent(&self) -> Result<SendHandle> {
        let is_over = |state: &UploadState| {
            !matches!(state, UploadState::Uploading { .. } | UploadState::Queued(_))
        };
        self.reach(is_over).await
    }

    /// Waits until all bytes are at the server and the message is in the outbox; else as
    /// [`UploadHandle::sent`].
    ///
    /// # Errors
    /// As [`UploadHandle::sent`].
    pub async fn queued(&self) -> Result<SendHandle> {
        self.reach(|state| !matches!(state, UploadState::Uploading { .. })).await
    }

    async fn reach(&self, is_there: impl FnMut(&UploadState) -> bool) -> Result<SendHandle> {
        let mut state = self.state();
        let reached = state.wait_for(is_there).await;
        match reached.map_err(|_| Error::closed())?.clone() {
            UploadState::Queued(handle) | UploadState::Sent(handle) => Ok(handle),
            UploadState::Failed { code: Some(code), reason } => {
                Err(Error::new(ErrorKind::Refused(code), reason))
            }
            UploadState::Failed { code: None, reason } => Err(Error::new(ErrorKind::File, reason)),
            UploadState::Cancelled | UploadState::Uploading { .. } => Err(Error::closed()),
        }
    }

    /// The message is in its conversation.
    pub(crate) fn tell_sent(&self) {
        self.0.state.send_if_modified(|state| {
            let UploadState::Queued(handle) = state else { return false };
            *state = UploadState::Sent(handle.clone());
            true
        });
    }

    pub(crate) fn tell(&self, state: UploadState) {
        self.0.state.send_replace(state);
    }

    pub(crate) async fn cancelled(&self) {
        let mut cancelled = self.0.cancelled.subscribe();
        if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
