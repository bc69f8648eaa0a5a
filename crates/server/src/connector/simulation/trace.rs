//! The last events of a seed, kept when it is run again after a failure.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

/// Events kept.
const EVENTS_MAX: usize = 80;

/// The last events, or nothing.
#[derive(Clone, Default)]
pub(super) struct Trace(Option<Rc<RefCell<VecDeque<String>>>>);

impl Trace {
    pub(super) fn on() -> Self {
        Self(Some(Rc::default()))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        let Some(lines) = &self.0 else { return };
        let mut lines = lines.borrow_mut();
        if lines.len() == EVENTS_MAX {
            lines.pop_front();
        }
        lines.push_back(line());
    }

    pub(super) fn text(&self) -> String {
        let lines = self.0.as_ref().map(|lines| lines.borrow().iter().cloned().collect::<Vec<_>>());
        lines.unwrap_or_default().join("\n")
    }
}
