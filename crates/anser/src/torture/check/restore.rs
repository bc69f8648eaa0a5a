//! C1, the part of it after a restore: every device is told, none goes on as if nothing had been.

use std::collections::HashMap;

use super::{Checks, Of, epochs::Epoch, world::World};
use crate::torture::history::{Device, What};

/// What a device was told last.
struct Told {
    /// The record of its Welcome.
    welcomed: usize,
    epoch: Epoch,
    /// A Reset came since.
    reset: bool,
}

pub(super) fn check(world: &World<'_>, checks: &mut Checks) {
    for index in &world.epochs.strange {
        checks.fail(Of::Loss, &[*index], || {
            "the epoch changed without a restore, or did not change with one".to_owned()
        });
    }
    let mut devices: HashMap<Device, Told> = HashMap::new();
    let mut said = HashMap::new();
    for (index, what) in world.iter() {
        match what {
            What::Hello { conn, epoch, .. } => _ = said.insert(*conn, epoch),
            What::Reset { conn, .. } => {
                let Some(conn) = world.conns.get(conn) else { continue };
                if let Some(told) = devices.get_mut(&conn.device) {
                    told.reset = true;
                }
            }
            What::Welcome { conn, epoch, .. } => {
                let (Some(known), Some(hello)) = (world.conns.get(conn), said.get(conn)) else {
                    continue;
                };
                let Some(answer) = known.answer.filter(|answer| answer.index == index) else {
                    continue;
                };
                checks.examine(Of::Loss);
                if *hello != epoch {
                    checks.fail(Of::Loss, &[known.hello, index], || {
                        format!("device {} named another epoch and was welcomed", known.device)
                    });
                }
                if let Some(restore) = world.epochs.restores.get(answer.epoch)
                    && known.hello > restore.at
                {
                    checks.fail(Of::Loss, &[restore.at, known.hello, index], || {
                        format!("device {} was welcomed in an epoch that is over", known.device)
                    });
                }
                let told = Told { welcomed: index, epoch: answer.epoch, reset: false };
                let Some(before) = devices.insert(known.device, told) else { continue };
                if before.epoch != answer.epoch && !before.reset {
                    checks.fail(Of::Loss, &[before.welcomed, index], || {
                        format!("device {} went on after a restore without a reset", known.device)
                    });
                }
            }
            _ => {}
        }
    }
}
