//! The bytes of a dump: frames, counts and hashes.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::row::{Row, TABLES};
use super::{Error, Result};
use crate::Hash;

/// The first bytes: what it is, and the number of its format.
const MAGIC: &[u8; 13] = b"anser-dump 1\n";
/// What dumps of all formats begin with.
const NAME: &[u8] = b"anser-dump ";
/// Far above a body with its head, so that a damaged length does not ask for gigabytes.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// Whose dump it is.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Header {
    #[prost(string, tag = "1")]
    pub(crate) epoch: String,
    /// See [`crate::Store::claim_key_check`].
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) key_check: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    end: Option<End>,
    #[prost(oneof = "Row", tags = "11, 12, 13, 14, 15, 16, 17, 18, 19")]
    row: Option<Row>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct End {
    /// In the order of [`TABLES`].
    #[prost(message, repeated, tag = "1")]
    sums: Vec<Sum>,
    /// Over header and sums.
    #[prost(bytes = "vec", tag = "2")]
    sha256: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sum {
    #[prost(uint64, tag = "1")]
    rows: u64,
    #[prost(bytes = "vec", tag = "2")]
    sha256: Vec<u8>,
}

/// What a dump holds, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The tables, in the order of the dump.
    pub tables: Vec<Table>,
    /// SHA-256 over epoch, key check, and counts and hashes of the tables: equal data, equal hash.
    pub sha256: Hash,
}

/// A table of a dump, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What is in it.
    pub name: &'static str,
    /// How many.
    pub rows: u64,
    /// SHA-256 over its rows.
    pub sha256: Hash,
}

impl Summary {
    /// All rows.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// The hash as people compare it.
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }

    /// Compares what was read back with this.
    ///
    /// # Errors
    /// [`Error::Differs`] names the first table that is not the same.
    pub(crate) fn matches(&self, read_back: &Self) -> Result<()> {
        let mut both = self.tables.iter().zip(&read_back.tables);
        match both.find(|(one, other)| one != other) {
            Some((table, _)) => Err(Error::Differs(table.name)),
            None if self.sha256 != read_back.sha256 => Err(Error::Differs("epoch and key check")),
            None => Ok(()),
        }
    }
}

/// Counts and hashes that grow with each row.
struct Sums {
    header: Vec<u8>,
    tables: Vec<(u64, Sha256)>,
}

impl Sums {
    fn new(header: &Header) -> Self {
        Self { header: header.encode_to_vec(), tables: vec![<_>::default(); TABLES.len()] }
    }

    fn add(&mut self, row: &Row, frame: &[u8]) {
        let (rows, sha256) = &mut self.tables[row.table()];
        *rows += 1;
        sha256.update(frame);
    }

    fn finish(self) -> Summary {
        let mut all = Sha256::new_with_prefix(self.header);
        let mut tables = Vec::with_capacity(TABLES.len());
        for (name, (rows, sha256)) in TABLES.iter().zip(self.tables) {
            let sha256: Hash = sha256.finalize().into();
            all.update(rows.to_be_bytes());
            all.update(sha256);
            tables.push(Table { name, rows, sha256 });
        }
        Summary { tables, sha256: all.finalize().into() }
    }
}

impl End {
    fn new(summary: &Summary) -> Self {
        let sum = |table: &Table| Sum { rows: table.rows, sha256: table.sha256.to_vec() };
        Self { sums: summary.tables.iter().map(sum).collect(), sha256: summary.sha256.to_vec() }
    }
}

/// Writes a dump.
pub(crate) struct Writer<'a> {
    to: &'a mut (dyn Write + Send),
    sums: Sums,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn begin(to: &'a mut (dyn Write + Send), header: Header) -> Result<Self> {
        let sums = Sums::new(&header);
        let mut writer = Self { to, sums, buffer: Vec::new() };
        writer.to.write_all(MAGIC)?;
        writer.frame(&Frame { header: Some(header), ..Frame::default() })?;
        Ok(writer)
    }

    pub(crate) fn row(&mut self, row: Row) -> Result<()> {
        let frame = Frame { row: Some(row), ..Frame::default() };
        self.frame(&frame)?;
        if let Some(row) = &frame.row {
            self.sums.add(row, &self.buffer);
        }
        Ok(())
    }

    /// Writes the end, without which it is no dump.
    pub(crate) fn end(mut self) -> Result<Summary> {
        let sums = std::mem::replace(&mut self.sums, Sums::new(&Header::default()));
        let summary = sums.finish();
        self.frame(&Frame { end: Some(End::new(&summary)), ..Frame::default() })?;
        self.to.flush()?;
        Ok(summary)
    }

    fn frame(&mut self, frame: &Frame) -> Result<()> {
        self.buffer.clear();
        frame.encode(&mut self.buffer).expect("a vector takes everything");
        let len = u32::try_from(self.buffer.len()).expect("a row is far below 4 GiB");
        self.to.write_all(&len.to_be_bytes())?;
        Ok(self.to.write_all(&self.buffer)?)
    }
}

/// Reads a dump, and checks it while it does.
pub struct Reader<'a> {
    from: &'a mut (dyn Read + Send),
    header: Header,
    sums: Option<Sums>,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// Reads up to the header.
    ///
    /// # Errors
    /// It is no dump, or one of a newer format.
    pub fn begin(from: &'a mut (dyn Read + Send)) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        read(from, &mut magic)?;
        if magic != *MAGIC {
            return Err(match magic.starts_with(NAME) {
                true => Error::NewerFormat,
                false => Error::Damaged("it does not begin as one".into()),
            });
        }
        let mut reader = Self { from, header: Header::default(), sums: None, buffer: Vec::new() };
        let header = reader.frame()?.header;
        reader.header = header.ok_or_else(|| Error::Damaged("it has no header".into()))?;
        reader.sums = Some(Sums::new(&reader.header));
        Ok(reader)
    }

    /// Reads all of it and keeps nothing.
    ///
    /// # Errors
    /// It is cut off, or bytes of it were changed.
    pub fn check(from: &'a mut (dyn Read + Send)) -> Result<Summary> {
        let mut reader = Self::begin(from)?;
        loop {
            if let Next::End(summary) = reader.next()? {
                return Ok(summary);
            }
        }
    }

    /// What tells the master key, see [`crate::Store::claim_key_check`].
    pub fn key_check(&self) -> Option<&[u8]> {
        self.header.key_check.as_deref()
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The next row; at the end what was read, when that is what the dump says it holds.
    pub(crate) fn next(&mut self) -> Result<Next> {
        let damaged = |what: &str| Err(Error::Damaged(what.into()));
        match self.frame()? {
            Frame { header: None, end: None, row: Some(row) } => match &mut self.sums {
                Some(sums) => {
                    sums.add(&row, &self.buffer);
                    Ok(Next::Row(row))
                }
                None => damaged("rows follow its end"),
            },
            Frame { header: None, end: Some(end), row: None } => {
                let Some(sums) = self.sums.take() else { return damaged("it ends twice") };
                let summary = sums.finish();
                if end != End::new(&summary) {
                    return damaged("what it holds is not what was written");
                }
                match self.from.read(&mut [0])? {
                    0 => Ok(Next::End(summary)),
                    _ => damaged("something follows its end"),
                }
            }
            _ => damaged("it has a frame that makes no sense"),
        }
    }

    fn frame(&mut self) -> Result<Frame> {
        let mut len = [0; 4];
        read(self.from, &mut len)?;
        let len = u32::from_be_bytes(len) as usize;
        if len > FRAME_BYTES_MAX {
            return Err(Error::Damaged("a row is longer than any row can be".into()));
        }
        self.buffer.resize(len, 0);
        read(self.from, &mut self.buffer)?;
        let frame = Frame::decode(&self.buffer[..]);
        frame.map_err(|error| Error::Damaged(format!("a row does not decode: {error}")))
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What comes next in a dump.
pub(crate) enum Next {
    Row(Row),
    End(Summary),
}

fn read(from: &mut dyn Read, bytes: &mut [u8]) -> Result<()> {
    from.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => {
            Error::Damaged("it has no end: the export did not finish".into())
        }
        _ => error.into(),
    })
}
