//! Statements as text, several in one packet. Only numbers and bytes get into them, and bytes as
//! hexadecimal digits: nothing has to be escaped.

use std::fmt::Write as _;

/// Most bytes of a packet, unless one row alone is longer.
pub(super) const PACKET_BYTES_MAX: usize = 4 << 20;

/// Statements in the order of their making.
#[derive(Default)]
pub(super) struct Script {
    full: Vec<String>,
    text: String,
}

impl Script {
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.text.is_empty()
    }

    /// Adds a statement.
    pub(super) fn statement(&mut self, statement: &str) {
        self.text.push_str(statement);
        self.text.push(';');
    }

    /// Adds an insert of all rows in one statement, or in several when they fill a packet.
    /// `how` is what stands before and after the rows; `row` writes one, without its brackets.
    pub(super) fn insert<R>(
        &mut self,
        how: (&str, &str),
        rows: impl IntoIterator<Item = R>,
        row: impl Fn(&mut String, R),
    ) {
        let mut first = true;
        for one in rows {
            if !first && self.text.len() > PACKET_BYTES_MAX / 2 {
                self.statement(how.1);
                self.full.push(std::mem::take(&mut self.text));
                first = true;
            }
            self.text.push_str(if first { how.0 } else { "," });
            self.text.push('(');
            row(&mut self.text, one);
            self.text.push(')');
            first = false;
        }
        if !first {
            self.statement(how.1);
        }
    }

    /// The packets to send, in this order.
    pub(super) fn packets(mut self) -> Vec<String> {
        if !self.text.is_empty() {
            self.full.push(self.text);
        }
        self.full
    }
}

/// Numbers with commas between them.
pub(super) fn list(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut text = String::new();
    for number in numbers {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}{number}").expect("a string takes everything");
    }
    text
}

/// Writes numbers with commas between them.
pub(super) fn numbers<const N: usize>(text: &mut String, numbers: [u64; N]) {
    for (at, number) in numbers.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(text, "{comma}{number}").expect("a string takes everything");
    }
}

/// Writes bytes as a literal.
pub(super) fn bytes(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push_str("x'");
    text.extend(bytes.iter().flat_map(|byte| {
        let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
        [digit(byte >> 4), digit(byte & 15)]
    }));
    text.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_one_statement_until_a_packet_is_full() {
        let mut script = Script::default();
        script
            .insert(("INSERT INTO t VALUES ", " AGAIN"), [1, 2], |text, row| numbers(text, [row]));
        script
            .insert(("INSERT INTO none VALUES ", ""), [0_u64; 0], |text, row| numbers(text, [row]));
        script.statement("COMMIT");
        assert_eq!(script.packets(), ["INSERT INTO t VALUES (1),(2) AGAIN;COMMIT;"]);

        let mut script = Script::default();
        let body = vec![0xab; 300_000];
        script.insert(("INSERT INTO t VALUES ", ""), 0..20, |text, _| bytes(text, &body));
        let packets = script.packets();
        assert!(packets.len() > 1 && packets.iter().all(|one| one.len() < PACKET_BYTES_MAX));
        let rows: usize = packets.iter().map(|one| one.matches("(x'abab").count()).sum();
        assert_eq!(rows, 20);
        assert!(packets.iter().all(|one| one.starts_with("INSERT") && one.ends_with("');")));
    }
}
