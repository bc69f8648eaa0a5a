//! The queue of outputs: one slot in place, so that the usual "one input, one output" allocates
//! nothing, and a heap queue behind it that is given back when it runs empty.

use std::collections::VecDeque;

use super::Output;

#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// The oldest output. While it is `None`, `rest` is empty.
    first: Option<Output>,
    rest: VecDeque<Output>,
}

impl Outputs {
    pub(super) fn push(&mut self, output: Output) {
        if self.first.is_none() {
            self.first = Some(output);
        } else {
            self.rest.push_back(output);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        let output = self.first.take()?;
        if self.rest.capacity() > 0 {
            self.first = self.rest.pop_front();
            if self.rest.is_empty() {
                self.rest = VecDeque::new();
            }
        }
        Some(output)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.rest.capacity() * size_of::<Output>()
    }
}
