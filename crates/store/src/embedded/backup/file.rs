//! A file of rows, with the checksum that grows while it is written or read.

use std::fs::File;
use std::io::{BufReader, BufWriter, Error, ErrorKind, Read, Result, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Rows, bytes, and SHA-256 in hex.
pub(super) type Sum = (u64, u64, String);

pub(super) struct RowWriter {
    file: BufWriter<File>,
    sum: Running,
}

pub(super) struct RowReader {
    file: BufReader<File>,
    sum: Running,
    key: Vec<u8>,
    value: Vec<u8>,
}

#[derive(Default)]
struct Running {
    rows: u64,
    bytes: u64,
    sha256: Sha256,
}

/// A new file that only its owner can read.
pub(super) fn create_private(path: &Path) -> Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

impl RowWriter {
    /// A new file.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, create_private(path)?);
        Ok(Self { file, sum: Running::default() })
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        for part in [key, value] {
            let len = u32::try_from(part.len()).map_err(|_| Error::from(ErrorKind::InvalidData))?;
            for bytes in [&len.to_be_bytes()[..], part] {
                self.file.write_all(bytes)?;
                self.sum.add(bytes);
            }
        }
        self.sum.rows += 1;
        Ok(())
    }

    /// Ends the file, on disk.
    pub(super) fn finish(self) -> Result<Sum> {
        self.file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        Ok(self.sum.finish())
    }
}

impl RowReader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
        Ok(Self { file, sum: Running::default(), key: Vec::new(), value: Vec::new() })
    }

    /// The next row, `None` at the end of the file.
    pub(super) fn row(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if !read_part(&mut self.file, &mut self.sum, &mut self.key)? {
            return Ok(None);
        }
        if !read_part(&mut self.file, &mut self.sum, &mut self.value)? {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the last row has no value"));
        }
        self.sum.rows += 1;
        Ok(Some((&self.key, &self.value)))
    }

    /// What was read so far.
    pub(super) fn finish(self) -> Sum {
        self.sum.finish()
    }
}

/// Reads a length and so many bytes; `false` when the file ends before it.
fn read_part(file: &mut impl Read, sum: &mut Running, part: &mut Vec<u8>) -> Result<bool> {
    let mut len = [0; 4];
    let mut have = 0;
    while have < len.len() {
        match file.read(&mut len[have..])? {
            0 if have == 0 => return Ok(false),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => have += more,
        }
    }
    sum.add(&len);
    let len = u32::from_be_bytes(len) as usize;
    if len > PART_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidData, "a row is longer than any row can be"));
    }
    part.resize(len, 0);
    file.read_exact(part)?;
    sum.add(part);
    Ok(true)
}

impl Running {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
    }

    fn finish(self) -> Sum {
        (self.rows, self.bytes, crate::dump::hex(&self.sha256.finalize()))
    }
}

const BUFFER_BYTES: usize = 64 << 10;
/// Far above a body with its head, so that a damaged length does not ask for gigabytes.
const PART_BYTES_MAX: usize = 16 << 20;
