//! Faults of the connector that tests plant (feature `faults`): here so that the real path reads
//! without them. Without the feature these functions are empty.

#[cfg(feature = "faults")]
mod on {
    use std::{collections::HashMap, sync::LazyLock};

    use anser_proto::{DeviceId, Seq, UserId, fault::Fault};
    use anser_store::{Mark, NewEntry, Record};
    use parking_lot::Mutex;

    use crate::connector::{feed::Feed, mailbox::Mailbox};

    static CONSUMED: LazyLock<Mutex<HashMap<UserId, Seq>>> = LazyLock::new(Mutex::default);
    static CURSOR: LazyLock<Mutex<HashMap<DeviceId, Seq>>> = LazyLock::new(Mutex::default);

    pub(in crate::connector) fn pushed(
        user: UserId,
        device: DeviceId,
        entry: &NewEntry,
        records: &mut Vec<Record>,
    ) {
        if Fault::ConsumeOnRead.is_on() {
            CONSUMED.lock().insert(user, entry.seq);
        }
        if Fault::CursorMovedByPush.is_on() {
            CURSOR.lock().insert(device, entry.seq);
        }
        if let (true, Mark::Message { conversation, conv_seq }) =
            (Fault::ReceiptWithoutAck.is_on(), entry.mark)
        {
            let delivered = vec![(conversation, conv_seq)];
            let position = 0;
            records.push(Record::Ack { user, device, position, delivered, store_position: false });
        }
    }

    pub(in crate::connector) fn resumed(member: &Mailbox, feed: &mut Feed) {
        let consumed = CONSUMED.lock().get(&member.user()).copied();
        let cursor = CURSOR.lock().get(&member.device()).copied();
        feed.skip_to(consumed.max(cursor).unwrap_or(0));
    }
}

#[cfg(not(feature = "faults"))]
mod on {
    use anser_proto::{DeviceId, UserId};
    use anser_store::{NewEntry, Record};

    use crate::connector::{feed::Feed, mailbox::Mailbox};

    pub(in crate::connector) const fn pushed(
        _: UserId,
        _: DeviceId,
        _: &NewEntry,
        _: &mut Vec<Record>,
    ) {
    }
    pub(in crate::connector) const fn resumed(_: &Mailbox, _: &mut Feed) {}
}

pub(super) use on::{pushed, resumed};
