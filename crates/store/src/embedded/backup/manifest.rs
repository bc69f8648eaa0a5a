//! The manifest of a backup: lines of words, so that a person and a shell can read it.

use std::io::Write as _;
use std::path::Path;

use super::file::create_private;
use crate::dump::hex;

pub(super) struct Manifest {
    pub(super) schema: u32,
    /// The history that it was taken from.
    pub(super) epoch: String,
    pub(super) key_check: Option<Vec<u8>>,
    pub(super) tables: Vec<Table>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Hex.
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        let key_check = self.key_check.as_ref().map_or_else(|| "-".into(), |check| hex(check));
        let mut text = format!(
            "anser-backup {FORMAT}\nschema {}\nepoch {}\nkey_check {key_check}\n",
            self.schema, self.epoch
        );
        for Table { name, rows, bytes, sha256 } in &self.tables {
            text.push_str(&format!("table {name} {rows} {bytes} {sha256}\n"));
        }
        text.push_str("end\n");
        let mut file = create_private(&folder.join(FILE))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// Reads and checks the manifest of a folder.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(folder.join(FILE))
            .map_err(|error| format!("it has no readable manifest: {error}"))?;
        let bad = |line: &str| format!("its manifest has a line that makes no sense: {line:?}");
        let mut lines = text.lines();
        let mut value = |word: &str| {
            let line = lines.next().unwrap_or_default();
            let value = line.strip_prefix(word).and_then(|rest| rest.strip_prefix(' '));
            value.map(str::to_owned).ok_or_else(|| bad(line))
        };
        let format = value("anser-backup")?;
        if format != FORMAT.to_string() {
            return Err(format!("its format is {format}, this program knows {FORMAT}"));
        }
        let schema = value("schema")?;
        let schema = schema.parse().map_err(|_| bad(&schema))?;
        let epoch = value("epoch")?;
        let key_check = value("key_check")?;
        let key_check = match key_check.as_str() {
            "-" => None,
            text => Some(unhex(text).ok_or_else(|| bad(text))?),
        };
        let mut tables = Vec::new();
        for line in lines {
            if line == "end" {
                return Ok(Self { schema, epoch, key_check, tables });
            }
            let words: Vec<&str> = line.split(' ').collect();
            let ["table", name, rows, bytes, sha256] = words[..] else { return Err(bad(line)) };
            let number = |text: &str| text.parse::<u64>().map_err(|_| bad(line));
            let (rows, bytes) = (number(rows)?, number(bytes)?);
            tables.push(Table { name: name.into(), rows, bytes, sha256: sha256.into() });
        }
        Err("its manifest has no end: the backup did not finish".into())
    }
}

/// Pairs of hex digits and nothing else: `u8::from_str_radix` takes a sign, too.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks() else { return None };
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

const FILE: &str = "manifest";
const FORMAT: u32 = 1;
