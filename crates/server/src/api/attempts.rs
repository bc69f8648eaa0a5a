//! Limits login attempts per user name and per address, within a minute and in bounded memory.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Counts attempts.
pub(crate) struct Attempts {
    per_minute: u32,
    windows: Mutex<HashMap<Key, Window>>,
}

/// Whose attempts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// All attempts on this user name, known or not.
    Name(String),
    /// All attempts from this network: an IPv4 address or an IPv6 /64, which one customer gets.
    Network(IpAddr),
}

#[derive(Clone, Copy)]
struct Window {
    start: Instant,
    attempts: u32,
}

impl Key {
    pub(crate) fn network(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Attempts {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, windows: Mutex::default() }
    }

    /// Takes one attempt from each of `keys`, or from none.
    ///
    /// # Errors
    /// How long to wait, when one of them has none left.
    pub(crate) fn take(&self, now: Instant, keys: &[Key]) -> Result<(), Duration> {
        let mut windows = self.windows.lock();
        if windows.len() + keys.len() > KEYS_MAX {
            windows.retain(|_, window| window.left(now) > Duration::ZERO);
            // Forgetting live windows would reset the limits of those under attack, so new names
            // and addresses wait instead.
            if windows.len() + keys.len() > KEYS_MAX {
                return Err(WINDOW);
            }
        }
        for key in keys {
            let window = windows.get(key).filter(|window| window.attempts >= self.per_minute);
            let left = window.map_or(Duration::ZERO, |window| window.left(now));
            if left > Duration::ZERO {
                return Err(left);
            }
        }
        for key in keys {
            let window = windows.entry(key.clone()).or_insert(Window { start: now, attempts: 0 });
            if window.left(now) == Duration::ZERO {
                *window = Window { start: now, attempts: 0 };
            }
            window.attempts += 1;
        }
        Ok(())
    }

    /// The attempt succeeded: gives it back, so that only failures count.
    pub(crate) fn give_back(&self, keys: &[Key]) {
        let mut windows = self.windows.lock();
        for key in keys {
            if let Some(window) = windows.get_mut(key) {
                window.attempts = window.attempts.saturating_sub(1);
            }
        }
    }
}

impl Window {
    fn left(&self, now: Instant) -> Duration {
        WINDOW.saturating_sub(now.saturating_duration_since(self.start))
    }
}

const WINDOW: Duration = Duration::from_secs(60);
/// About 1 MiB.
const KEYS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_within_a_minute_and_successes_do_not() {
        let attempts = Attempts::new(2);
        let start = Instant::now();
        let key = [Key::Name("alice".into())];
        for _ in 0..10 {
            attempts.take(start, &key).unwrap();
            attempts.give_back(&key);
        }
        attempts.take(start, &key).unwrap();
        attempts.take(start, &key).unwrap();
        let later = start + Duration::from_secs(20);
        assert_eq!(attempts.take(later, &key), Err(Duration::from_secs(40)));
        attempts.take(start + WINDOW, &key).unwrap();
    }

    #[test]
    fn one_empty_key_takes_nothing_from_the_others() {
        let attempts = Attempts::new(1);
        let now = Instant::now();
        let (alice, bob) = (Key::Name("alice".into()), Key::Name("bob".into()));
        attempts.take(now, std::slice::from_ref(&alice)).unwrap();
        attempts.take(now, &[bob.clone(), alice]).unwrap_err();
        attempts.take(now, &[bob]).unwrap();
    }

    #[test]
    fn one_ipv6_network_is_one_key_and_mapped_ipv4_is_ipv4() {
        let key = |text: &str| Key::network(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded_and_live_windows_are_not_forgotten() {
        let attempts = Attempts::new(1);
        let now = Instant::now();
        for n in 0..KEYS_MAX {
            attempts.take(now, &[Key::Name(n.to_string())]).unwrap();
        }
        assert_eq!(attempts.take(now, &[Key::Name("one more".into())]), Err(WINDOW));
        attempts.take(now + WINDOW, &[Key::Name("one more".into())]).unwrap();
        assert_eq!(attempts.windows.lock().len(), 1);
    }
}
