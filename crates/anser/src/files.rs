//! Files at the terminal: how one is told, where one is saved, and how far one is. Shared by
//! `chat`, `send` and `tail`.

use std::path::{Path, PathBuf};

use anser_client::File;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// `photo.png, 1.2 MiB`, and the pixels of a picture. What others wrote is not made harmless here.
pub(crate) fn told(file: &File) -> String {
    let pixels = file.pixels.map(|(width, height)| format!(", {width}x{height}"));
    format!("{}, {}{}", file.name, size(file.size), pixels.unwrap_or_default())
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// How far it is, in words.
pub(crate) fn percent(done: u64, all: u64) -> String {
    let percent = (u128::from(done) * 100).checked_div(u128::from(all)).unwrap_or(100);
    format!("{percent} % of {}", size(all))
}

/// A path in `folder` at which there is nothing yet: the file's name, or with a number.
pub(crate) fn free_path(folder: &Path, name: &str) -> PathBuf {
    let (stem, end) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let names = std::iter::once(name.to_owned());
    let mut names = names.chain((2..).map(|number| format!("{stem} ({number}){end}")));
    loop {
        // Numbers do not end before names do.
        let Some(name) = names.next() else { return folder.join("file") };
        let path = folder.join(name);
        if !path.exists() {
            return path;
        }
    }
}

/// A bar on standard error, where that is a terminal.
pub(crate) fn bar(all: u64) -> ProgressBar {
    let template = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

/// How many bytes it is by now, on standard error where that is a terminal: nobody knows how many
/// they become.
pub(crate) fn count() -> ProgressBar {
    let count = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    count.set_style(
        ProgressStyle::with_template("{spinner} {bytes}, {bytes_per_sec}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_file_gets_a_name_that_is_free() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = |name: &str| {
            let path = free_path(folder.path(), name);
            std::fs::write(&path, "").expect("made");
            path.file_name().and_then(|name| name.to_str()).map(str::to_owned).expect("a name")
        };
        assert_eq!([made("a.tar.gz"), made("a.tar.gz")], ["a.tar.gz", "a.tar (2).gz"]);
        assert_eq!([made("x"), made("x"), made("x")], ["x", "x (2)", "x (3)"]);
        assert_eq!([made(".env"), made(".env")], [".env", ".env (2)"]);
    }

    #[test]
    fn how_far_a_file_is_is_told_for_empty_and_large_ones_too() {
        assert_eq!(percent(0, 0), "100 % of 0 B");
        assert_eq!(percent(1 << 62, 1 << 63), "50 % of 8.00 EiB");
    }
}
