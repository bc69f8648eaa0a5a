//! Messages as bytes.

use std::time::{Duration, Instant};

use anser_proto::{
    ConversationId, DeviceId, NodeId, SessionId, UserId,
    cluster::{QueueMessage, QueueRecord, QueuedCommand, queue_record::Kind},
};
use anser_store::{Record, TraceParent};
use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use prost::Message as _;

use super::super::codec::Message;

fn record() -> impl Strategy<Value = Record> {
    let bytes = vec(any::<u8>(), 0..64).prop_map(Bytes::from);
    let command = (any::<[u64; 4]>(), bytes, option::of(any::<[u8; 32]>()), trace());
    let command =
        command.prop_map(|([user, device, session, client_seq], command, once, trace)| {
            let once = once.map(Box::new);
            let (user, device, session) = (UserId(user), DeviceId(device), SessionId(session));
            Record::Command { user, device, session, client_seq, command, once, trace }
        });
    let delivered = vec(any::<(u64, u64)>(), 0..4);
    let ack = (any::<[u64; 3]>(), delivered, any::<bool>());
    let ack = ack.prop_map(|([user, device, position], delivered, store_position)| {
        let pair = |(conversation, seq)| (ConversationId(conversation), seq);
        let delivered = delivered.into_iter().map(pair).collect();
        let (user, device) = (UserId(user), DeviceId(device));
        Record::Ack { user, device, position, delivered, store_position }
    });
    prop_oneof![command, ack]
}

fn trace() -> impl Strategy<Value = Option<Box<TraceParent>>> {
    let place = any::<([u8; 16], [u8; 8])>();
    option::of(place.prop_map(|(trace, span)| Box::new(TraceParent { trace, span })))
}

proptest! {
    #[test]
    fn records_come_out_as_they_went_in(
        records in vec(record(), 0..16),
        epoch in "[0-9a-f]{0,32}",
        connector in any::<u64>(),
    ) {
        let (connector, published) = (NodeId(connector), Instant::now());
        let text = format!("{records:?}");
        let message = Message { epoch: epoch.clone(), connector, published, records };
        let read = Message::decode(message.encode(), NodeId(1), Instant::now()).unwrap();
        prop_assert_eq!(read.epoch, epoch);
        prop_assert_eq!(read.connector, connector);
        prop_assert_eq!(format!("{:?}", read.records), text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..256)) {
        let _ = Message::decode(Bytes::from(bytes), NodeId(1), Instant::now());
    }
}

#[test]
fn only_the_own_process_reads_when_it_was_published() {
    let sent = |published| {
        let (epoch, connector) = (String::new(), NodeId(1));
        Message { epoch, connector, published, records: Vec::new() }.encode()
    };
    // The clock starts with the first message of the process.
    let _ = sent(Instant::now());
    let published = Instant::now();
    let came = published + Duration::from_secs(1);
    let read = |here| Message::decode(sent(published), here, came).unwrap().published;
    let own = read(NodeId(1));
    let apart = own.max(published) - own.min(published);
    assert!(apart <= Duration::from_micros(1), "{apart:?}");
    assert_eq!(read(NodeId(2)), came);
}

/// What is written today is read by the next release: the bytes of version 1.
#[test]
fn the_bytes_stay_as_they_are() {
    let bytes = [
        0x08, 1, 0x12, 1, b'e', 0x18, 7, 0x20, 9, // version, epoch, connector, published_us
        0x2a, 15, 0x0a, 13, 0x08, 1, 0x10, 2, 0x18, 3, 0x20, 4, 0x32, 3, b'a', b'b', b'c', 0x2a,
        14, 0x12, 12, 0x08, 1, 0x10, 2, 0x18, 5, 0x22, 4, 0x08, 6, 0x10, 7,
    ];
    let read = Message::decode(Bytes::copy_from_slice(&bytes), NodeId(1), Instant::now()).unwrap();
    assert_eq!((read.epoch.as_str(), read.connector), ("e", NodeId(7)));
    let text = format!("{:?}", read.records);
    assert_eq!(
        text,
        "[Command { user: UserId(1), device: DeviceId(2), session: SessionId(3), client_seq: 4, \
         command: b\"abc\", once: None, trace: None }, Ack { user: UserId(1), device: DeviceId(2), position: 5, \
         delivered: [(ConversationId(6), 7)], store_position: false }]"
    );
}

#[test]
fn another_version_is_refused() {
    let told = Message::decode(Bytes::from_static(&[0x08, 2]), NodeId(1), Instant::now());
    assert_eq!(told.unwrap_err().to_string(), "its layout has version 2, not 1");
    // A record of a kind that comes later.
    let later = [0x08, 1, 0x2a, 2, 0x3a, 0];
    let told = Message::decode(Bytes::copy_from_slice(&later), NodeId(1), Instant::now());
    assert_eq!(told.unwrap_err().to_string(), "a record is of a kind that is not known here");
}

/// What a later version may write there, or an earlier one never did, is no reason to drop it.
#[test]
fn a_place_in_a_trace_that_is_none_leaves_the_command() {
    for trace in [&b""[..], &[7; 23], &[7; 25], &[7; 24]] {
        let command = QueuedCommand { trace: trace.to_vec().into(), ..QueuedCommand::default() };
        let record = QueueRecord { kind: Some(Kind::Command(command)) };
        let message = QueueMessage { version: 1, records: vec![record], ..<_>::default() };
        let bytes = Bytes::from(message.encode_to_vec());
        let read = Message::decode(bytes, NodeId(1), Instant::now()).unwrap();
        let [Record::Command { trace: place, .. }] = &read.records[..] else { panic!("{read:?}") };
        let whole = TraceParent { trace: [7; 16], span: [7; 8] };
        assert_eq!(place.as_deref(), (trace.len() == 24).then_some(&whole));
    }
}
