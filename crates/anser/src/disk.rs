//! The file system that holds a path: its kind and free space, for `doctor` and `bench`.

use std::{fs, io, path::Path};

/// File systems that live on another machine, as `/proc/mounts` names them.
pub(crate) const NETWORK: [&str; 5] = ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs"];
/// `statfs` magic of tmpfs and ramfs (statfs(2)): memory, on which a sync costs nothing.
const MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// A file system.
pub(crate) struct FileSystem {
    /// As `/proc/mounts` names it, like `ext4`.
    pub(crate) kind: String,
    /// A restart of the machine empties it.
    pub(crate) in_memory: bool,
}

/// The file system that holds `path`.
///
/// # Errors
/// The path does not exist.
pub(crate) fn filesystem(path: &Path) -> io::Result<FileSystem> {
    let magic = rustix::fs::statfs(path)?.f_type;
    let path = fs::canonicalize(path)?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        path.starts_with(point).then_some((point.len(), kind))
    });
    let kind = mounted.max_by_key(|(length, _)| *length).map_or("unknown", |(_, kind)| kind);
    Ok(FileSystem { kind: kind.to_owned(), in_memory: MEMORY.contains(&magic) })
}

/// Bytes that this process may still write there.
///
/// # Errors
/// The path does not exist.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
