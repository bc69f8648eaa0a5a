//! How far `tail` has printed each conversation: a small file beside the account's state.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anser_client::proto::{ConversationId, Seq};
use anyhow::Context as _;

/// The file's name in the account's folder.
const FILE: &str = "tail.json";

/// Printed up to here, by conversation.
pub(super) struct Cursor {
    file: PathBuf,
    printed: BTreeMap<String, Seq>,
    is_changed: bool,
}

impl Cursor {
    /// Reads it; a file that is not there means that nothing was printed yet.
    ///
    /// # Errors
    /// The file can not be read or understood.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join(FILE);
        let printed = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged; remove it", file.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).context(format!("reading {}", file.display())),
        };
        Ok(Self { file, printed, is_changed: false })
    }

    /// Forgets what was printed, to print all of it again.
    pub(super) fn rewind(&mut self) {
        self.printed.clear();
    }

    pub(super) fn printed(&self, conversation: ConversationId) -> Seq {
        self.printed.get(&conversation.to_string()).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, conversation: ConversationId, conv_seq: Seq) {
        self.printed.insert(conversation.to_string(), conv_seq);
        self.is_changed = true;
    }

    /// Writes it where it changed. Whole or not at all; without a sync, for the worst that a power
    /// cut can do is that messages are printed again.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn save(&mut self) -> anyhow::Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        let write = || {
            let new = self.file.with_extension("new");
            let mut options = fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            io::Write::write_all(&mut file, &serde_json::to_vec(&self.printed)?)?;
            fs::rename(&new, &self.file)
        };
        write().with_context(|| format!("writing {}", self.file.display()))?;
        self.is_changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: ConversationId = ConversationId(7);

    #[test]
    fn it_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut cursor = Cursor::open(folder.path()).unwrap();
        assert_eq!(cursor.printed(CHAT), 0);
        cursor.set(CHAT, 3);
        cursor.save().unwrap();
        cursor.set(CHAT, 9);
        assert_eq!(Cursor::open(folder.path()).unwrap().printed(CHAT), 3);
        cursor.rewind();
        assert_eq!(cursor.printed(CHAT), 0);
    }

    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{").unwrap();
        let told = Cursor::open(folder.path()).map(drop).unwrap_err();
        assert!(told.to_string().contains("remove it"), "{told}");
    }
}
