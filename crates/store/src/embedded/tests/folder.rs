//! Copies of data folders.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Copies a folder with all that is in it. Holes stay holes: a journal is mostly one.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else {
            copy_file(&from, &to);
        }
    }
}

fn copy_file(from: &Path, to: &Path) {
    let (mut from, mut to) = (File::open(from).unwrap(), File::create_new(to).unwrap());
    let mut block = vec![0; 64 << 10];
    let zeros = block.clone();
    let mut length = 0;
    loop {
        let read = from.read(&mut block).unwrap();
        if read == 0 {
            break;
        }
        if block[..read] != zeros[..read] {
            to.seek(SeekFrom::Start(length)).unwrap();
            to.write_all(&block[..read]).unwrap();
        }
        length += read as u64;
    }
    to.set_len(length).unwrap();
}
