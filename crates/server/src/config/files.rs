//! Files: where they are, and how much of them is taken.

use std::{fmt, path::PathBuf, time::Duration};

use super::Store;

/// Files that messages name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The store of objects that holds them; `None`: a folder.
    pub store: Option<Bucket>,
    /// The folder; `None`: `files` of the data folder.
    pub path: Option<PathBuf>,
    /// Several servers use the folder.
    pub shared: bool,
    /// Where the store of objects is, such as `http://10.0.0.9:9000`; `None`: at Amazon.
    pub s3_endpoint: Option<String>,
    /// Its region.
    pub s3_region: String,
    /// Names the key.
    pub s3_access_key_id: String,
    /// The key.
    pub s3_secret_access_key: Secret,
    /// Largest file, sealed.
    pub bytes_max: u64,
    /// All files of one user together, sealed.
    pub user_bytes_max: u64,
    /// A complete file that no message names is removed after this time.
    pub unsent_kept: Duration,
    /// An upload to which nothing was added for this time is removed.
    pub unfinished_kept: Duration,
}

/// A bucket of an S3-compatible store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub bucket: String,
    /// What the names of all objects begin with; may be empty.
    pub prefix: String,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

/// A text that gets into no log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "…" })
    }
}

impl Default for Files {
    fn default() -> Self {
        Self {
            store: None,
            path: None,
            shared: false,
            s3_endpoint: None,
            s3_region: "us-east-1".into(),
            s3_access_key_id: String::new(),
            s3_secret_access_key: Secret::default(),
            bytes_max: 4 << 30,
            user_bytes_max: 20 << 30,
            unsent_kept: Duration::from_secs(7 * 24 * 3600),
            unfinished_kept: Duration::from_secs(24 * 3600),
        }
    }
}

impl Files {
    /// Whether the values fit together, and to where the data is.
    ///
    /// # Errors
    /// A key, and what is wrong with it.
    pub(crate) fn check(&self, store: &Store) -> Result<(), (&'static str, &'static str)> {
        let has_key =
            !self.s3_access_key_id.is_empty() && !self.s3_secret_access_key.reveal().is_empty();
        if self.store.is_some() {
            let why = "names a store that asks for a key: set files.s3_access_key_id and \
                       files.s3_secret_access_key";
            return if has_key { Ok(()) } else { Err(("files.store", why)) };
        }
        if store.url.is_some() && !self.shared {
            let why = "must be said: with store.url several servers can use the data, and each must find \
                       the files that another took. Mount one folder on all of them, name it with \
                       files.path, and set files.shared = true; or set files.store";
            return Err(("files.shared", why));
        }
        if self.shared && self.path.is_none() {
            let why = "must be set with files.shared: the folder that is mounted on all servers";
            return Err(("files.path", why));
        }
        Ok(())
    }
}
