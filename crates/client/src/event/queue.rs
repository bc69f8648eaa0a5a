//! The bounded queue between the client's task and the reader of its events.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures_util::Stream;
use parking_lot::Mutex;

use super::Event;

/// The receiving end of the events; also a [`Stream`]. Dropping it only means that nobody listens.
#[derive(Debug)]
pub struct Events(pub(crate) Arc<Queue>);

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    missed: u64,
    /// The last event of all, kept apart so that a full queue has room for it.
    last: Option<Event>,
    closed: bool,
    /// The reader was dropped.
    unread: bool,
    reader: Option<Waker>,
}

impl Events {
    /// The next event; `None` once the client is closed and everything was read. Cancelling it
    /// loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.0.poll(context)).await
    }

    /// Moves everything that waits into `events`, at least one; false once the client is closed and
    /// everything was read. For readers of many events.
    pub async fn next_batch(&mut self, events: &mut Vec<Event>) -> bool {
        let Some(first) = self.next().await else { return false };
        events.push(first);
        let mut state = self.0.state.lock();
        events.extend(state.events.drain(..));
        true
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll(context)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.unread = true;
        state.events = VecDeque::new();
    }
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), capacity: capacity.max(1) })
    }

    /// Leaves events for the reader, as many as there is room for.
    pub(crate) fn push(&self, events: impl IntoIterator<Item = Event>) {
        let mut state = self.state.lock();
        if state.unread {
            return;
        }
        for event in events {
            if state.events.len() >= self.capacity || state.missed > 0 {
                // The marker stands where the hole is: everything after it is dropped until it is
                // read.
                state.missed += 1;
            } else {
                state.events.push_back(event);
            }
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Ends the stream, after `last` if there is one.
    pub(crate) fn close(&self, last: Option<Event>) {
        let mut state = self.state.lock();
        state.closed = true;
        state.last = state.last.take().or(last);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.state.lock();
        if let Some(event) = state.next() {
            return Poll::Ready(Some(event));
        }
        if state.closed {
            return Poll::Ready(state.last.take());
        }
        match &mut state.reader {
            Some(reader) => reader.clone_from(context.waker()),
            reader => *reader = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl State {
    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let missed = std::mem::take(&mut self.missed);
        (missed > 0).then_some(Event::Lagged { missed })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed() {
        let queue = Queue::new(2);
        let mut events = Events(queue.clone());
        queue.push([Event::CaughtUp, Event::Reset, Event::CaughtUp, Event::CaughtUp]);
        assert_eq!(events.next().await, Some(Event::CaughtUp));
        // There is room again, but not before the marker: the hole would move.
        queue.push([Event::Reset]);
        assert_eq!(events.next().await, Some(Event::Reset));
        assert_eq!(events.next().await, Some(Event::Lagged { missed: 3 }));
        queue.push([Event::Reset]);
        assert_eq!(events.next().await, Some(Event::Reset));
        queue.close(None);
        assert_eq!(events.next().await, None);
    }

    #[tokio::test]
    async fn the_last_event_finds_room_in_a_full_queue() {
        let queue = Queue::new(1);
        let events = Events(queue.clone());
        queue.push([Event::CaughtUp, Event::Reset]);
        queue.close(Some(Event::Closed { code: None }));
        let all: Vec<_> = events.collect().await;
        let lagged = Event::Lagged { missed: 1 };
        assert_eq!(all, [Event::CaughtUp, lagged, Event::Closed { code: None }]);
    }

    #[tokio::test]
    async fn a_waiting_reader_wakes_up() {
        let queue = Queue::new(8);
        let mut events = Events(queue.clone());
        let (event, ()) = tokio::join!(events.next(), async { queue.push([Event::CaughtUp]) });
        assert_eq!(event, Some(Event::CaughtUp));
        let mut batch = Vec::new();
        queue.push([Event::CaughtUp, Event::Reset]);
        assert!(events.next_batch(&mut batch).await);
        assert_eq!(batch, [Event::CaughtUp, Event::Reset]);
    }
}
