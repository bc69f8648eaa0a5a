//! C1, the part of it that needs no message: what a device was acked it is never told to be
//! missing.
//! A client that still holds the command sends it again, and hides by that that the server forgot.

use std::collections::HashMap;

use super::{Checks, Of, epochs::Epoch, world::World};
use crate::torture::history::{Device, What};

pub(super) fn check(world: &World<'_>, checks: &mut Checks) {
    // The highest ack of a device in an epoch, with its record.
    let mut acked: HashMap<(Device, Epoch), (u64, usize)> = HashMap::new();
    // The same at the moment of each Hello: an ack that came later may have been decided later.
    let mut at_hello = HashMap::new();
    for (index, what) in world.iter() {
        match what {
            What::Acked { conn, position } => {
                let (Some(epoch), Some(conn)) = (world.epoch_of(*conn), world.conns.get(conn))
                else {
                    continue;
                };
                let known = acked.entry((conn.device, epoch)).or_insert((0, index));
                if *position > known.0 {
                    *known = (*position, index);
                }
            }
            What::Hello { conn, .. } => {
                let (Some(epoch), Some(known)) = (world.epoch_of(*conn), world.conns.get(conn))
                else {
                    continue;
                };
                if let Some(acked) = acked.get(&(known.device, epoch)) {
                    at_hello.insert(*conn, *acked);
                }
            }
            What::Welcome { conn, outbox_position, .. }
            | What::Reset { conn, outbox_position, .. } => {
                let Some((position, ack)) = at_hello.get(conn) else { continue };
                checks.examine(Of::Loss);
                if outbox_position < position {
                    checks.fail(Of::Loss, &[*ack, index], || {
                        format!("{position} commands were acked, and then only {outbox_position}")
                    });
                }
            }
            _ => {}
        }
    }
}
