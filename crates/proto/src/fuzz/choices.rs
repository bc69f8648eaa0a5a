//! Bytes read as choices, until they run out.

use crate::id::NUMBER_MAX;

/// What is left of the input.
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next bytes, fewer where the input ends.
    pub(super) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A number that a stranger may write: near `about`, at an end of what is allowed, or any.
    pub(super) fn number(&mut self, about: u64) -> Option<u64> {
        let byte = self.byte()?;
        Some(match byte {
            // Right beside it is where rules change.
            0..=127 => about.saturating_add(u64::from(byte % 8)).saturating_sub(3),
            128..=159 => about.saturating_add(u64::from(byte - 128)),
            160..=191 => u64::from(byte - 160),
            192..=207 => NUMBER_MAX.wrapping_add(u64::from(byte - 192)) - 8,
            208..=215 => u64::MAX - u64::from(byte - 208),
            _ => {
                let mut number = [0; 8];
                let taken = self.bytes(8);
                number[..taken.len()].copy_from_slice(taken);
                u64::from_le_bytes(number)
            }
        })
    }
}
