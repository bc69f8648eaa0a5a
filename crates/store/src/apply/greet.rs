//! Hello: how a device goes on, from its row and its inbox as they are now.

use anser_proto::fault::Fault;
use anser_proto::{Seq, id::NUMBER_MAX};

use super::Device;
use crate::{Greeting, Hello};

/// A device's inbox.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) head: Seq,
    pub(crate) floor: Seq,
}

/// Decides, and on an epoch mismatch moves `outbox_position` over what the device forgot, so that
/// no number is used twice. An engine that finds the device changed stores it before it answers.
pub(crate) fn greet(epoch: &str, device: &mut Device, inbox: Bounds, hello: &Hello) -> Greeting {
    let skipped = hello.outbox_trimmed.min(NUMBER_MAX - 1);
    if hello.epoch != epoch && skipped > device.outbox_position {
        device.outbox_position = skipped;
        // Nothing is known of the commands that were skipped.
        device.digests = Vec::new();
    }
    // The list ends with the digest of command `outbox_position`, or is empty after a skip.
    let outbox_digest = device.digests.last().copied();
    let outbox_position = device.outbox_position;
    let Bounds { head, floor } = inbox;
    let reset = Greeting::Reset { epoch: epoch.to_owned(), head, outbox_position, outbox_digest };
    if hello.epoch != epoch {
        return reset;
    }
    if hello.outbox_head < outbox_position {
        return Greeting::DeviceStale;
    }
    // A device that knows nothing, of an inbox that it is known to start after: a new one.
    let new = hello.position == 0 && device.inbox_position > 0;
    if new || hello.position > head || hello.position + 1 < floor {
        return reset;
    }
    // Without dedup nothing is remembered of what was applied either.
    let forgets = Fault::NoDedup.is_on();
    Greeting::Welcome {
        head,
        floor,
        outbox_position: if forgets { hello.outbox_trimmed } else { outbox_position },
        outbox_digest: outbox_digest.filter(|_| !forgets),
        inbox_position: device.inbox_position.min(hello.position),
    }
}
