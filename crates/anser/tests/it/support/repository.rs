//! The repository itself, for tests of house rules.

use std::path::{Path, PathBuf};

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 5] = [".git", "target", "data", "node_modules", ".ci"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("this crate is two folders below the root").to_owned()
}

/// All files with this extension: their paths from the root, and their texts.
pub(crate) fn files(extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root(), extension, &mut found);
    found.sort();
    assert!(!found.is_empty(), "no file ends with .{extension}");
    found
}

/// The text of one file, by its path from the root.
pub(crate) fn text(path: &str) -> String {
    let text = std::fs::read_to_string(root().join(path));
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !FOREIGN.contains(&name) {
            collect(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            let from_root = path.strip_prefix(root()).expect("inside the repository");
            let text = std::fs::read_to_string(&path).expect("a text");
            found.push((from_root.to_string_lossy().into_owned(), text));
        }
    }
}
