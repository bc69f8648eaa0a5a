//! A listening Unix socket that never was open to others, not even between bind and chmod.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
};

use tokio::net::UnixListener;

use super::BindError;

pub(super) fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Listen { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let text = "something that is no socket has this name; move it away";
            return Err(failed(io::Error::new(ErrorKind::AlreadyExists, text)));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(BindError::InUse(path.to_owned()));
        }
        Ok(_) | Err(_) => {}
    }
    listen(path).map_err(failed)
}

/// Binds inside a folder of its own (0700), sets the mode, then renames over what was there.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let folder = path.with_extension(format!("new-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let inside = folder.join("s");
    let result = UnixListener::bind(&inside).and_then(|listener| {
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o600))?;
        fs::rename(&inside, path)?;
        Ok(listener)
    });
    // Best effort: an empty folder harms nobody.
    let _ = fs::remove_file(&inside);
    let _ = fs::remove_dir(&folder);
    result
}
