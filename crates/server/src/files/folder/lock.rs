//! The right to write to a file, among servers that share a folder: a lock on an empty file of the
//! upload's name. It ends with its holder, however that ends.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use anser_proto::FileId;

use super::{Folder, blocking, found, make_folder};

/// Held as long as it is there.
pub(in crate::files) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Under the lock, so that it is this one's. One that stays is used again by the next.
        let _ = fs::remove_file(&self.path);
    }
}

impl Folder {
    /// The lock of a file; `None` while another server has it.
    pub(in crate::files) async fn lock(&self, id: FileId) -> io::Result<Option<Lock>> {
        let folder = self.path.join(LOCKS);
        let path = folder.join(id.to_string());
        blocking(move || {
            make_folder(&folder)?;
            let file = File::options().create(true).write(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The one before may have removed it after it was opened here: then the next server
            // would make, and lock, another file of that name.
            let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
            let named = found(fs::metadata(&path))?.map(inode);
            let is_named = named == Some(inode(file.metadata()?));
            Ok(is_named.then(|| Lock { path, _file: file }))
        })
        .await
    }
}

/// Its names are no two hexadecimal digits: no folder of files.
const LOCKS: &str = "locks";
