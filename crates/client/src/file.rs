//! A file as a message tells of it.

use anser_proto::{FileId, seal::Key, wire};
use bytes::Bytes;

/// Longest name of a file that is sent, in bytes: what file systems take.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// A file that a message tells of. Its bytes are on the server, sealed; its key is in here.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// What the server calls it.
    pub id: FileId,
    /// Its name, without a path and without control characters. Written by the sender.
    pub name: String,
    /// Such as `image/png`; empty when the sender did not know. The bytes may be anything.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Width and height in pixels, where the sender says that it is a picture.
    pub pixels: Option<(u32, u32)>,
    /// A small picture to show before the file is fetched; empty: there is none.
    pub preview: Bytes,
    pub(crate) key: Key,
}

impl File {
    /// What a message says; `None`: it makes no sense.
    pub(crate) fn from_wire(file: wire::File) -> Option<Self> {
        let key: [u8; 32] = file.key[..].try_into().ok()?;
        let pixels = (file.width > 0 && file.height > 0).then_some((file.width, file.height));
        Some(Self {
            id: FileId(file.id),
            name: safe_name(&file.name),
            media_type: file.media_type.chars().filter(|c| c.is_ascii_graphic()).collect(),
            size: file.size,
            sha256: file.sha256[..].try_into().ok()?,
            pixels,
            preview: file.preview,
            key: Key::new(key),
        })
    }

    /// What a message says of it.
    pub(crate) fn to_wire(&self) -> wire::File {
        let (width, height) = self.pixels.unwrap_or_default();
        wire::File {
            id: self.id.0,
            key: Bytes::copy_from_slice(self.key.bytes()),
            name: self.name.clone(),
            media_type: self.media_type.clone(),
            size: self.size,
            sha256: Bytes::copy_from_slice(&self.sha256),
            width,
            height,
            preview: self.preview.clone(),
        }
    }
}

/// Without key and preview.
impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// A name that is no path, moves no cursor and is no special name of a folder: it comes from
/// another person, and somebody will save by it.
pub(crate) fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let hidden =
        |c: &char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut safe: String = last.chars().filter(|c| !hidden(c)).collect();
    while safe.len() > NAME_BYTES_MAX {
        safe.pop();
    }
    if safe.trim_matches(['.', ' ']).is_empty() { "file".into() } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        for (name, safe) in [
            ("photo.png", "photo.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\windows\\x.exe", "x.exe"),
            ("..", "file"),
            ("", "file"),
            (" . ", "file"),
            ("a/", "file"),
            ("x\u{1b}[2J\n.txt", "x[2J.txt"),
            ("cod\u{202e}gnp.exe", "codgnp.exe"),
            ("鸿雁.txt", "鸿雁.txt"),
        ] {
            assert_eq!(safe_name(name), safe, "{name:?}");
        }
        assert!(safe_name(&"é".repeat(300)).len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn what_a_message_says_comes_back_and_nonsense_does_not() {
        let file = File {
            id: FileId(7),
            name: "photo.png".into(),
            media_type: "image/png".into(),
            size: 5,
            sha256: [3; 32],
            pixels: Some((640, 480)),
            preview: Bytes::from_static(b"small"),
            key: Key::new([9; 32]),
        };
        assert_eq!(File::from_wire(file.to_wire()).as_ref(), Some(&file));
        let short = wire::File { key: Bytes::from_static(b"short"), ..file.to_wire() };
        assert_eq!(File::from_wire(short), None);
        let unhashed = wire::File { sha256: Bytes::new(), ..file.to_wire() };
        assert_eq!(File::from_wire(unhashed), None);
        assert!(!format!("{file:?}").contains("9, 9"), "no key");
    }
}
