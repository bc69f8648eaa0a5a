//! Text as a terminal may show it: nothing of it controls the terminal, and lines break by the width
//! that it has on the screen.

use jiff::{Timestamp, tz::TimeZone};
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// What stands for a character that must not reach the terminal.
const REPLACEMENT: char = '\u{fffd}';

/// Makes the text of somebody else harmless: line breaks stay, tabs become spaces, other control
/// characters (escape sequences begin with one) and overrides of the writing direction, which let a
/// text look like another, are replaced.
pub(super) fn sanitise(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\t' => clean.push_str("    "),
            c if c.is_control() || overrides_direction(c) => clean.push(REPLACEMENT),
            c => clean.push(c),
        }
    }
    clean
}

fn overrides_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns that a text takes on the screen.
pub(super) fn width(text: &str) -> usize {
    // By grapheme, as the screen is drawn: a whole emoji sequence is one symbol of two columns.
    text.graphemes(true).map(|grapheme| grapheme.width()).sum()
}

/// Breaks a text into lines of at most `columns`, the first one shorter by `indent`. Breaks come between
/// words where they can; a word that is longer than a line is broken between graphemes.
pub(super) fn wrap(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    let mut taken = indent.min(columns - 2);
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split_word_bounds() {
            let word_columns = width(word);
            if taken + word_columns <= columns {
                line.push_str(word);
                taken += word_columns;
                continue;
            }
            // Spaces at a break belong to neither line.
            if word.trim().is_empty() {
                lines.push(std::mem::take(&mut line));
                taken = 0;
                continue;
            }
            if word_columns <= columns {
                let break_at = line.trim_end().len();
                line.truncate(break_at);
                lines.push(std::mem::replace(&mut line, word.to_owned()));
                taken = word_columns;
                continue;
            }
            for grapheme in word.graphemes(true) {
                if taken + grapheme.width() > columns {
                    lines.push(std::mem::take(&mut line));
                    taken = 0;
                }
                line.push_str(grapheme);
                taken += grapheme.width();
            }
        }
        lines.push(line);
        taken = 0;
    }
    lines
}

/// At most `columns` of a text, with `…` where something was cut off.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut taken = 1;
    for grapheme in text.graphemes(true) {
        taken += grapheme.width();
        if taken > columns {
            break;
        }
        short.push_str(grapheme);
    }
    if columns > 0 {
        short.push('…');
    }
    short
}

/// The time of day of a message.
pub(super) fn time(at_ms: u64, zone: &TimeZone) -> String {
    format(at_ms, zone, "%H:%M")
}

/// The day of a message.
pub(super) fn day(at_ms: u64, zone: &TimeZone) -> String {
    format(at_ms, zone, "%A, %-d %B %Y")
}

fn format(at_ms: u64, zone: &TimeZone, how: &str) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    // The server's number; one that is no time is shown as the first one.
    at.unwrap_or_default().to_zoned(zone.clone()).strftime(how).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_controls_a_terminal_gets_through() {
        assert_eq!(sanitise("a\u{1b}[31mred\u{7}"), "a\u{fffd}[31mred\u{fffd}");
        assert_eq!(sanitise("\u{9b}2J\u{7f}\u{0}\u{8}"), "\u{fffd}2J\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(sanitise("exe\u{202e}gpj.\u{2066}"), "exe\u{fffd}gpj.\u{fffd}");
        assert_eq!(
            sanitise("one\r\ntwo\rthree\u{2028}four\tx"),
            "one\ntwo\u{fffd}three\nfour    x"
        );
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        assert!(!sanitise(&all).chars().any(|c| c != '\n' && c.is_control()));
    }

    #[test]
    fn harmless_text_stays_as_it_is() {
        for text in ["grüße", "鸿雁传书", "👩‍👩‍👧 family", "e\u{301}", "שלום"]
        {
            assert_eq!(sanitise(text), text);
        }
    }

    #[test]
    fn widths_are_those_of_the_screen() {
        assert_eq!(width("abc"), 3);
        assert_eq!(width("鸿雁"), 4);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("👩‍👩‍👧"), 2);
        assert_eq!(width("🇩🇪"), 2);
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 8, 0), ["one two", "three"]);
        assert_eq!(wrap("one two three", 7, 0), ["one two", "three"]);
        assert_eq!(wrap("one two three", 8, 4), ["one", "two", "three"]);
        assert_eq!(wrap("one\n\ntwo", 8, 3), ["one", "", "two"]);
        assert_eq!(wrap("", 8, 3), [""]);
    }

    #[test]
    fn a_long_word_breaks_where_the_line_ends() {
        assert_eq!(wrap("abcdefghij", 4, 0), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("ab cdefghij", 4, 0), ["ab c", "defg", "hij"]);
        assert_eq!(wrap("abcdefghij", 4, 2), ["ab", "cdef", "ghij"]);
    }

    #[test]
    fn no_line_is_wider_than_allowed() {
        let text =
            "鸿雁传书 the wild goose 👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧 e\u{301}e\u{301} carries_letters_in_the_saying  x";
        for columns in 2..40 {
            for indent in [0, 1, 5, 60] {
                let lines = wrap(text, columns, indent);
                for (index, line) in lines.iter().enumerate() {
                    let taken = if index == 0 { indent.min(columns - 2) } else { 0 };
                    assert!(taken + width(line) <= columns, "{columns} {indent} {line:?}");
                }
                let kept: String = lines.concat().split_whitespace().collect();
                assert_eq!(kept, text.split_whitespace().collect::<String>());
            }
        }
        // A symbol of two columns never straddles the edge.
        assert_eq!(wrap("鸿雁传", 3, 0), ["鸿", "雁", "传"]);
    }

    #[test]
    fn what_is_cut_off_is_marked() {
        assert_eq!(cut("alice", 5), "alice");
        assert_eq!(cut("alice", 4), "ali…");
        assert_eq!(cut("鸿雁传", 4), "鸿…");
        assert_eq!(cut("alice", 0), "");
    }

    #[test]
    fn times_are_local() {
        let berlin = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(time(1_780_000_000_000, &TimeZone::UTC), "20:26");
        assert_eq!(time(1_780_000_000_000, &berlin), "22:26");
        assert_eq!(day(1_780_000_000_000, &TimeZone::UTC), "Thursday, 28 May 2026");
        assert_eq!(time(u64::MAX, &TimeZone::UTC), "00:00");
    }
}
