//! What the network of one client is like at the moment. The fault lane changes it, the client's
//! links look at it before every frame.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How frames pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Weather {
    /// As they come.
    #[default]
    Fair,
    /// Nothing passes, and nobody is told.
    Silent,
    /// Byte by byte.
    Trickle,
    /// Each so much later.
    Late(Duration),
    /// Every other one twice.
    Twice,
    /// Every other one after the one that follows it.
    Swapped,
    /// Nothing from the server is read.
    Unread,
}

/// The network of one client; a cheap clone.
#[derive(Clone, Default)]
pub(super) struct Sky(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Copy, Default)]
struct State {
    weather: Weather,
    /// Connections made before this many cuts are gone.
    cuts: u64,
    /// How connections are cut: with a reset, or in silence towards the server.
    silently: bool,
}

impl Sky {
    pub(super) fn weather(&self) -> Weather {
        self.0.state.lock().weather
    }

    pub(super) fn set(&self, weather: Weather) {
        self.0.state.lock().weather = weather;
        self.0.changed.notify_waiters();
    }

    /// Cuts all connections there are: the client is told, and the server too unless `silently`.
    pub(super) fn cut(&self, silently: bool) {
        let mut state = self.0.state.lock();
        state.cuts += 1;
        state.silently = silently;
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// How often connections were cut so far.
    pub(super) fn cuts(&self) -> u64 {
        self.0.state.lock().cuts
    }

    /// Waits for the next cut after `known` cuts; gives whether it was in silence.
    pub(super) async fn cut_after(&self, known: u64) -> bool {
        self.until(|state| state.cuts > known).await.silently
    }

    /// Waits until the weather is another one.
    pub(super) async fn not(&self, weather: Weather) {
        self.until(|state| state.weather != weather).await;
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) -> State {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let state = *self.0.state.lock();
            if holds(&state) {
                return state;
            }
            changed.await;
        }
    }
}
