//! The master key that wraps relation keys, the server API key, and in a cluster the secret by
//! which its nodes know each other. They are files in the data folder (0600), made on the first
//! start of a standalone server and never by a cluster's node: all nodes have copies of the same.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anser_proto::seal::{KEY_BYTES, Key};

use crate::token;

/// Folder of the secrets in the data folder.
const FOLDER: &str = "secrets";
const MASTER_KEY: &str = "master.key";
const SERVER_API_KEY: &str = "server-api.key";
const CLUSTER_SECRET: &str = "cluster.key";
/// What a server API key starts with, for scanners of leaked secrets.
const SERVER_API_KEY_PREFIX: &str = "anss_";

/// Wraps relation keys for the store. `Debug` hides it.
#[derive(Clone, Debug)]
pub struct MasterKey(Key);

/// The stored bytes are not a key wrapped by this master key.
#[derive(Debug, thiserror::Error)]
#[error("a relation key does not open with this master key")]
pub struct UnwrapError;

impl MasterKey {
    /// A master key from its bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Key::new(bytes))
    }

    /// Wraps a relation key for the store.
    pub fn wrap(&self, key: &Key) -> Vec<u8> {
        self.0.seal(&WRAP_PLACE, key.bytes())
    }

    /// Opens a wrapped relation key.
    ///
    /// # Errors
    /// [`UnwrapError`]: another master key wrapped it, or the bytes were changed.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Key, UnwrapError> {
        let bytes = self.0.open(&WRAP_PLACE, wrapped).map_err(|_| UnwrapError)?;
        Ok(Key::new(bytes.try_into().map_err(|_| UnwrapError)?))
    }

    /// A value for the store that tells whether a key is this one, without telling the key.
    pub fn check(&self) -> Vec<u8> {
        use sha2::{Digest, Sha256};
        Sha256::new()
            .chain_update(b"anser master key check")
            .chain_update(self.0.bytes())
            .finalize()[..16]
            .to_vec()
    }
}

/// The secrets can not be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A file can not be read or made.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{0} does not hold a key of 64 hex digits")]
    Malformed(PathBuf),
}

impl Secrets {
    /// Reads the secrets of a data folder, and makes those that are not there yet. What is there is
    /// never overwritten.
    ///
    /// # Errors
    /// A file can not be read or made, or holds something else.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, SecretsError> {
        let folder = data_dir.join(FOLDER);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| SecretsError::Io { path: folder.clone(), source })?;
        create(&folder.join(MASTER_KEY), || token::mint(""))?;
        create(&folder.join(SERVER_API_KEY), || token::mint(SERVER_API_KEY_PREFIX))?;
        Self::load(data_dir)
    }

    /// Like [`Secrets::load_or_create`], for all nodes of a new cluster.
    ///
    /// # Errors
    /// As there.
    pub fn load_or_create_cluster(data_dir: &Path) -> Result<Self, SecretsError> {
        Self::load_or_create(data_dir)?;
        create(&cluster_secret_file(data_dir), || token::mint(""))?;
        Self::load(data_dir)
    }

    /// Reads the secrets of a data folder.
    ///
    /// # Errors
    /// A file can not be read, or holds something else.
    pub fn load(data_dir: &Path) -> Result<Self, SecretsError> {
        let path = server_api_key_file(data_dir);
        let server_api_key = read(&path)?;
        let cluster = cluster_secret_file(data_dir);
        let cluster = if cluster.exists() { Some(read(&cluster)?) } else { None };
        let master_key = MasterKey::read(&master_key_file(data_dir))?;
        Ok(Self { master_key, server_api_key, cluster })
    }
}

impl MasterKey {
    /// Reads a master key's file.
    ///
    /// # Errors
    /// It can not be read, or holds something else.
    pub fn read(path: &Path) -> Result<Self, SecretsError> {
        let bytes = from_hex(&read(path)?);
        bytes.map(Self::new).ok_or_else(|| SecretsError::Malformed(path.to_owned()))
    }
}

/// Where a data folder has its secrets.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

/// Where a data folder has its master key.
pub fn master_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER).join(MASTER_KEY)
}

/// Where a data folder has its server API key.
pub fn server_api_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER).join(SERVER_API_KEY)
}

/// Where a data folder has the secret of its cluster.
pub fn cluster_secret_file(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER).join(CLUSTER_SECRET)
}

fn read(path: &Path) -> Result<String, SecretsError> {
    let text = fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => SecretsError::Malformed(path.to_owned()),
        _ => SecretsError::Io { path: path.to_owned(), source },
    })?;
    Ok(text.trim().to_owned())
}

/// Makes a file readable by its owner only, synced with its folder, unless it exists.
fn create(path: &Path, secret: impl FnOnce() -> String) -> Result<(), SecretsError> {
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = match options.write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            opened => opened?,
        };
        writeln!(file, "{}", secret())?;
        file.sync_all()?;
        fs::File::open(path.parent().unwrap_or(path))?.sync_all()
    };
    write().map_err(|source| SecretsError::Io { path: path.to_owned(), source })
}

fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Wrapped keys are no message bodies: no conversation has the id 0.
const WRAP_PLACE: anser_proto::seal::Place = anser_proto::seal::Place {
    conversation: anser_proto::ConversationId(0),
    sender: anser_proto::UserId(0),
    device: anser_proto::DeviceId(0),
    client_seq: 0,
    key_version: 0,
};

/// The secrets of a server. `Debug` hides them.
#[derive(Clone)]
pub struct Secrets {
    /// Wraps relation keys.
    pub master_key: MasterKey,
    /// Authorises the server API.
    pub server_api_key: String,
    /// By which the nodes of a cluster know each other; `None`: it was not made for one.
    pub cluster: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = Secrets::load_or_create(folder.path()).expect("secrets");
        let again = Secrets::load_or_create(folder.path()).expect("secrets");
        assert_eq!(made.master_key.check(), again.master_key.check());
        assert_eq!(made.server_api_key, again.server_api_key);
        let mode =
            |path: PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(master_key_file(folder.path())), 0o600);
        assert_eq!(mode(server_api_key_file(folder.path())), 0o600);
        assert_eq!(mode(folder.path().join(FOLDER)), 0o700);
    }

    #[test]
    fn the_secret_of_a_cluster_is_made_only_when_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let alone = Secrets::load_or_create(folder.path()).expect("secrets");
        assert_eq!(alone.cluster, None);
        let made = Secrets::load_or_create_cluster(folder.path()).expect("secrets");
        let again = Secrets::load_or_create_cluster(folder.path()).expect("secrets");
        assert_eq!(made.cluster, again.cluster);
        assert_eq!(made.cluster.expect("a secret").len(), 64);
        assert_eq!(made.server_api_key, alone.server_api_key, "what is there stays");
    }

    #[test]
    fn a_damaged_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        Secrets::load_or_create(folder.path()).expect("secrets");
        fs::write(master_key_file(folder.path()), "short").expect("written");
        let refused = Secrets::load(folder.path()).map(drop);
        assert!(matches!(refused, Err(SecretsError::Malformed(_))));
    }

    #[test]
    fn a_wrapped_key_opens_only_with_its_master_key() {
        let (one, other) = (MasterKey::new([1; KEY_BYTES]), MasterKey::new([2; KEY_BYTES]));
        let key = Key::random();
        let wrapped = one.wrap(&key);
        assert_eq!(one.unwrap(&wrapped).expect("it opens"), key);
        assert!(other.unwrap(&wrapped).is_err());
    }
}
