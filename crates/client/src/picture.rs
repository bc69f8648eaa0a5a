//! Media type and pixels of a picture, from the first bytes of its file. Nothing is decoded.

/// What a picture's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) media_type: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// As much as is looked at: a JPEG may have a thumbnail in front of its size.
pub(crate) const HEAD_BYTES: u64 = 256 * 1024;

/// `None`: no picture of a kind that is known here.
pub(crate) fn look(head: &[u8]) -> Option<Seen> {
    let (media_type, (width, height)) = if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        ("image/png", (be32(head, 16)?, be32(head, 20)?))
    } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        ("image/gif", (le16(head, 6)?, le16(head, 8)?))
    } else if head.starts_with(b"\xff\xd8\xff") {
        ("image/jpeg", jpeg(head)?)
    } else if head.starts_with(b"RIFF") && head.get(8..12)? == b"WEBP" {
        ("image/webp", webp(head)?)
    } else {
        return None;
    };
    (width > 0 && height > 0).then_some(Seen { media_type, width, height })
}

/// Walks over the segments to the frame's header (ITU-T T.81, B.2.2).
fn jpeg(head: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let marker = *head.get(at + 1)?;
        if *head.get(at)? != 0xff {
            return None;
        }
        if marker == 0xff {
            at += 1;
            continue;
        }
        // Of the C0 to CF, three are no frames: tables, a reserved one, and arithmetic conditions.
        if (0xc0..=0xcf).contains(&marker) && ![0xc4, 0xc8, 0xcc].contains(&marker) {
            return Some((be16(head, at + 7)?, be16(head, at + 5)?));
        }
        at += 2 + be16(head, at + 2)? as usize;
    }
}

/// The three kinds of a first chunk (RFC 9649).
fn webp(head: &[u8]) -> Option<(u32, u32)> {
    match head.get(12..16)? {
        b"VP8X" => {
            let three = |at| Some(le16(head, at)? | u32::from(*head.get(at + 2)?) << 16);
            Some((three(24)? + 1, three(27)? + 1))
        }
        b"VP8L" => {
            let bits = le16(head, 21)? | le16(head, 23)? << 16;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8 " => Some((le16(head, 26)? & 0x3fff, le16(head, 28)? & 0x3fff)),
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes).into())
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_le_bytes(bytes).into())
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(head: &[u8]) -> Option<(&'static str, u32, u32)> {
        look(head).map(|seen| (seen.media_type, seen.width, seen.height))
    }

    #[test]
    fn pixels_are_read_from_the_head() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x06\0\0\0";
        assert_eq!(seen(png), Some(("image/png", 640, 480)));
        assert_eq!(seen(b"GIF89a\x80\x02\xe0\x01\0"), Some(("image/gif", 640, 480)));
        let jpeg = b"\xff\xd8\xff\xe0\0\x04xx\xff\xff\xc0\0\x11\x08\x01\xe0\x02\x80\x03";
        assert_eq!(seen(jpeg), Some(("image/jpeg", 640, 480)));
        let webp = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x7f\x02\0\xdf\x01\0";
        assert_eq!(seen(webp), Some(("image/webp", 640, 480)));
    }

    #[test]
    fn what_is_cut_or_something_else_is_no_picture() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\x80\0\0\x01\xe0";
        for end in 0..png.len() {
            assert_eq!(seen(&png[..end]), None, "{end}");
        }
        let endless = b"\xff\xd8\xff\xe0\0\0\xff\xe0\0\0\xff\xe0\0\0";
        assert_eq!(seen(endless), None);
        assert_eq!(seen(b"hello"), None);
        assert_eq!(seen(b"\xff\xd8\xff\xff\xff\xff"), None);
    }
}
