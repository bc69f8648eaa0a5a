//! Sessions under any sequence of operations: one end against a stranger, or both ends of one link.

mod lone;
mod pair;
mod watch;

use std::{sync::Arc, time::Duration};

use super::choices::Choices;
use crate::session::{Config, Side};

/// Runs the operations that `data` tells. The first byte chooses who takes part.
///
/// # Panics
/// When a session breaks one of its promises.
pub fn session(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (Some(who), Some(windows)) = (choices.byte(), choices.byte()) else { return };
    let config = Arc::new(config(windows));
    let greeted = who & 4 == 0;
    match who % 4 {
        0 => lone::run(Side::Client, greeted, config, &mut choices),
        1 => lone::run(Side::Server, greeted, config, &mut choices),
        _ => pair::run(config, &mut choices),
    }
}

/// Small windows are full soon.
fn config(choice: u8) -> Config {
    Config {
        entries_max: 1 + u32::from(choice & 7),
        commands_max: 1 + u32::from(choice >> 3 & 3),
        entry_bytes_max: [1, 40, 300, 1024 * 1024][usize::from(choice >> 5 & 3)],
        ack_delay: Duration::from_millis(if choice & 128 == 0 { 100 } else { 0 }),
        ..Config::default()
    }
}
