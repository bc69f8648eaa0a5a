//! Where a store is, and what can be done to one that does not serve.

use std::io::{Read, Write};
use std::path::PathBuf;

use super::{Result, Summary};
use crate::{embedded, mysql};

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a folder, of the embedded engine.
    Folder(PathBuf),
    /// On a server.
    Server(mysql::Options),
}

impl Place {
    /// Writes a dump of everything, and then fences the store: it does not open any more until
    /// [`Place::new_epoch`], but it can be exported again. The dump has its end, without which it
    /// is of no use, only when the fence stands. Blocks while it reads a folder.
    ///
    /// # Errors
    /// Before the fence: the store is in use, or can not be read. Before or after it: the dump can
    /// not be written.
    pub async fn export(&self, to: &mut (dyn Write + Send)) -> Result<Summary> {
        match self {
            Self::Folder(path) => embedded::export(path, to),
            Self::Server(options) => mysql::export(options, to).await,
        }
    }

    /// Loads a dump into a place that holds nothing, reads it back and compares. The store opens
    /// only after that, with the epoch of the dump. Blocks while it writes a folder.
    ///
    /// # Errors
    /// The place is not empty, the dump is damaged, or what was read back differs.
    pub async fn import(&self, from: &mut (dyn Read + Send)) -> Result<Summary> {
        match self {
            Self::Folder(path) => embedded::import(path, from),
            Self::Server(options) => mysql::import(options, from).await,
        }
    }

    /// Makes the store a history of its own, which opens: each of its devices gets a reset. Gives
    /// the epoch.
    ///
    /// # Errors
    /// The store is in use, or can not be read, or is a half import.
    pub async fn new_epoch(&self) -> Result<String> {
        match self {
            Self::Folder(path) => embedded::new_epoch(path),
            Self::Server(options) => mysql::new_epoch(options).await,
        }
    }
}
