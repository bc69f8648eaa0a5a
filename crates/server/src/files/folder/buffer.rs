//! Memory for writes that go past the page cache: the kernel wants it aligned, as it wants the place
//! in the file.

use axum::body::Bytes;

/// What such a write's memory, place and length are multiples of: disks have no larger blocks.
pub(super) const BLOCK_BYTES: usize = 4096;

/// A buffer whose first byte is aligned.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Vec<u8>,
    /// The first aligned byte; what is before it is not used.
    start: usize,
}

impl Buffer {
    /// A buffer that holds so many bytes and never grows. The operating system gives memory to what
    /// is used of it only.
    pub(super) fn new(bytes: usize) -> Self {
        let mut memory: Vec<u8> = Vec::with_capacity(bytes + BLOCK_BYTES);
        let start = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        memory.resize(start, 0);
        Self { memory, start }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// Takes the begin of a piece, until the buffer holds so many bytes.
    pub(super) fn fill(&mut self, piece: &mut Bytes, until: usize) {
        let room = until.saturating_sub(self.bytes().len()).min(piece.len());
        self.memory.extend_from_slice(&piece.split_to(room));
    }

    pub(super) fn clear(&mut self) {
        self.memory.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_stays_where_it_is() {
        let mut buffer = Buffer::new(3 * BLOCK_BYTES);
        let place = buffer.bytes().as_ptr();
        assert_eq!(place.align_offset(BLOCK_BYTES), 0);
        for _ in 0..2 {
            let mut piece = Bytes::from(vec![7; 4 * BLOCK_BYTES]);
            buffer.fill(&mut piece, 100);
            assert_eq!((buffer.bytes().len(), piece.len()), (100, 4 * BLOCK_BYTES - 100));
            buffer.fill(&mut piece, 3 * BLOCK_BYTES);
            assert_eq!((buffer.bytes().len(), piece.len()), (3 * BLOCK_BYTES, BLOCK_BYTES));
            assert_eq!(buffer.bytes().as_ptr(), place);
            buffer.clear();
            assert!(buffer.bytes().is_empty());
        }
    }
}
