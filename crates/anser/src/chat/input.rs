//! The line that is being typed: a text and a cursor, which is always between two graphemes.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation as _};

use super::text;

/// More than a message may hold; what is typed or pasted beyond it is not taken.
const BYTES_MAX: usize = 32 * 1024;

/// The line that is being typed.
#[derive(Debug, Default)]
pub(super) struct Input {
    text: String,
    cursor: usize,
}

impl Input {
    /// The text so far.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Takes the whole line and leaves it empty.
    pub(super) fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Puts a text back that could not be sent.
    pub(super) fn put_back(&mut self, text: String) {
        if self.text.is_empty() {
            self.cursor = text.len();
            self.text = text;
        }
    }

    /// Types or pastes. Control characters are not taken, line breaks are.
    pub(super) fn insert(&mut self, typed: &str) {
        let typed = typed.replace("\r\n", "\n").replace('\r', "\n").replace('\t', "    ");
        for c in typed.chars().filter(|c| *c == '\n' || !c.is_control()) {
            if self.text.len() + c.len_utf8() > BYTES_MAX {
                break;
            }
            self.text.insert(self.cursor, c);
            self.cursor += c.len_utf8();
        }
        // A combining character may have joined the cursor's two sides.
        self.cursor = self.at_boundary(self.cursor);
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.before();
    }

    pub(super) fn right(&mut self) {
        self.cursor = self.after();
    }

    pub(super) fn word_left(&mut self) {
        self.cursor = self.word_start();
    }

    pub(super) fn word_right(&mut self) {
        let rest = &self.text[self.cursor..];
        let word = rest.len() - rest.trim_start().len();
        let end = rest[word..].find(char::is_whitespace).unwrap_or(rest.len() - word);
        self.cursor += word + end;
    }

    pub(super) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    pub(super) fn backspace(&mut self) {
        self.remove_from(self.before());
    }

    pub(super) fn delete(&mut self) {
        let after = self.after();
        self.text.replace_range(self.cursor..after, "");
    }

    /// Ctrl-W: the word before the cursor.
    pub(super) fn delete_word(&mut self) {
        self.remove_from(self.word_start());
    }

    /// Ctrl-U: all before the cursor.
    pub(super) fn delete_to_start(&mut self) {
        self.remove_from(0);
    }

    /// Ctrl-K: all after the cursor.
    pub(super) fn delete_to_end(&mut self) {
        self.text.truncate(self.cursor);
    }

    /// The part that fits into `columns`, and the cursor's column in it. Line breaks show as a symbol.
    pub(super) fn visible(&self, columns: usize) -> (String, usize) {
        let before = self.text[..self.cursor].replace('\n', "⏎");
        let after = self.text[self.cursor..].replace('\n', "⏎");
        // One column is for the cursor behind the last symbol.
        let room = columns.saturating_sub(1);
        let mut shown = Vec::new();
        let mut taken = 0;
        for grapheme in before.graphemes(true).rev() {
            if taken + text::width(grapheme) > room {
                break;
            }
            taken += text::width(grapheme);
            shown.push(grapheme);
        }
        let cursor = taken;
        shown.reverse();
        for grapheme in after.graphemes(true) {
            if taken + text::width(grapheme) > room {
                break;
            }
            taken += text::width(grapheme);
            shown.push(grapheme);
        }
        (shown.concat(), cursor)
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        let next = self.text[self.cursor..].graphemes(true).next();
        self.cursor + next.map_or(0, str::len)
    }

    fn word_start(&self) -> usize {
        let word_end = self.text[..self.cursor].trim_end();
        word_end
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + word_end[at..].chars().next().map_or(0, char::len_utf8))
    }

    fn remove_from(&mut self, start: usize) {
        self.text.replace_range(start..self.cursor, "");
        self.cursor = self.at_boundary(start);
    }

    /// The first boundary of graphemes at or after `at`.
    fn at_boundary(&self, at: usize) -> usize {
        let mut cursor = GraphemeCursor::new(at, self.text.len(), true);
        match cursor.is_boundary(&self.text, 0) {
            Ok(false) => cursor.next_boundary(&self.text, 0).ok().flatten().unwrap_or(at),
            _ => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        input.insert(text);
        input
    }

    #[test]
    fn editing_goes_by_what_the_eye_sees() {
        let mut input = typed("a鸿👩‍👩‍👧e\u{301}");
        input.backspace();
        assert_eq!(input.text(), "a鸿👩‍👩‍👧");
        input.left();
        input.insert("x");
        assert_eq!(input.text(), "a鸿x👩‍👩‍👧");
        input.delete();
        assert_eq!(input.text(), "a鸿x");
        input.home();
        input.delete();
        input.right();
        input.insert("y");
        assert_eq!(input.text(), "鸿yx");
    }

    #[test]
    fn a_combining_character_joins_what_is_before_it() {
        let mut input = typed("eb");
        input.left();
        input.insert("\u{301}");
        input.insert("c");
        assert_eq!(input.text(), "e\u{301}cb");
        let mut input = typed("🇩🇪");
        input.left();
        input.insert("🇩");
        input.insert("x");
        input.backspace();
        input.backspace();
        assert!(input.text.is_char_boundary(input.cursor));
    }

    #[test]
    fn words_and_ends() {
        let mut input = typed("one two  three ");
        input.delete_word();
        assert_eq!(input.text(), "one two  ");
        input.word_left();
        input.insert("x");
        assert_eq!(input.text(), "one xtwo  ");
        input.delete_to_start();
        assert_eq!(input.text(), "two  ");
        input.word_right();
        input.delete_to_end();
        assert_eq!(input.take(), "two");
        assert_eq!((input.text(), input.cursor), ("", 0));
    }

    #[test]
    fn what_is_pasted_is_text_and_nothing_else() {
        assert_eq!(typed("one\r\ntwo\u{1b}[31m\tx\u{7}").text(), "one\ntwo[31m    x");
        assert_eq!(typed(&"鸿".repeat(BYTES_MAX)).text().len(), BYTES_MAX / 3 * 3);
    }

    #[test]
    fn the_cursor_is_always_visible() {
        let mut input = typed("abc鸿雁传书");
        assert_eq!(input.visible(20), ("abc鸿雁传书".into(), 11));
        assert_eq!(input.visible(6), ("传书".into(), 4));
        input.home();
        assert_eq!(input.visible(6), ("abc鸿".into(), 0));
        input.right();
        assert_eq!(input.visible(20).1, 1);
        assert_eq!(typed("a\nb").visible(9), ("a⏎b".into(), 3));
    }
}
