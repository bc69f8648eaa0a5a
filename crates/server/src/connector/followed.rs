//! Commands of one connection that are followed, from their socket until they are acked there.

use std::{collections::VecDeque, time::Instant};

use anser_proto::{Code, Seq, wire};
use anser_store::TraceParent;
use bytes::Bytes;
use prost::Message as _;

use super::mailbox::Mailbox;
use crate::trace::{Span, Tracer, number};

/// More commands of one connection are not followed at a time: a device can repeat one for ever.
const FOLLOWED_MAX: usize = 64;

/// They are few, and mostly none: then this takes no memory of its own.
#[derive(Default)]
pub(super) struct Followed(VecDeque<Command>);

/// A command on its way.
struct Command {
    seq: Seq,
    conversation: Option<u64>,
    place: TraceParent,
    started: Instant,
}

impl Followed {
    /// A command was read; those up to `acked` are acked. `None`: it is not followed.
    pub(super) fn begin(
        &mut self,
        tracer: &Tracer,
        member: &Mailbox,
        acked: Seq,
        (seq, body): (Seq, &Bytes),
    ) -> Option<Box<TraceParent>> {
        let place = tracer.sample(member.device(), seq)?;
        // The end of one that was acked before would never come.
        if seq <= acked || self.0.len() >= FOLLOWED_MAX {
            return None;
        }
        let conversation = conversation(body);
        let command = Command { seq, conversation, place: *place, started: Instant::now() };
        self.0.push_back(command);
        Some(place)
    }

    /// All commands up to `position` are acked.
    pub(super) fn acked(&mut self, tracer: &Tracer, member: &Mailbox, position: Seq) {
        while let Some(command) = self.0.pop_front_if(|command| command.seq <= position) {
            tracer.end(command.span(member));
            if self.0.is_empty() {
                self.0 = VecDeque::new();
            }
        }
    }

    /// The connection ended without their ack. They may be applied nevertheless: the device asks
    /// at its next Hello.
    pub(super) fn cut(&mut self, tracer: &Tracer, member: &Mailbox, code: Option<Code>) {
        for command in std::mem::take(&mut self.0) {
            tracer.end(command.span(member).failed(code.map_or("disconnected", Code::name)));
        }
    }
}

impl Command {
    fn span(&self, member: &Mailbox) -> Span {
        let span = Span::first(self.place, "command", self.started)
            .with("anser.user", member.user().to_string())
            .with("anser.device", member.device().to_string())
            .with("anser.client_seq", number(self.seq));
        match self.conversation {
            Some(id) => span.with("anser.conversation", id.to_string()),
            None => span,
        }
    }
}

fn conversation(body: &Bytes) -> Option<u64> {
    match wire::Command::decode(body.clone()).ok()?.kind? {
        wire::command::Kind::Send(send) => Some(send.conversation),
        wire::command::Kind::Read(read) => Some(read.conversation),
    }
}

#[cfg(test)]
mod tests {
    use anser_proto::{DeviceId, SessionId, UserId};

    use super::*;

    #[tokio::test]
    async fn a_command_ends_once_with_its_ack_or_with_its_connection() {
        let (tracer, mut told) = Tracer::of_all();
        let member = Mailbox::new(UserId(1), DeviceId(2), SessionId(3));
        let mut followed = Followed::default();
        let begin = |followed: &mut Followed, acked, seq| {
            followed.begin(&tracer, &member, acked, (seq, &Bytes::new())).is_some()
        };
        assert!((1..=5).all(|seq| begin(&mut followed, 0, seq)));
        followed.acked(&tracer, &member, 3);
        assert!(!begin(&mut followed, 3, 2), "a repeat of what is acked");
        assert!(begin(&mut followed, 3, 4), "a repeat of what is on its way");
        followed.cut(&tracer, &member, Some(Code::Replaced));
        followed.cut(&tracer, &member, None);
        let mut ended = Vec::new();
        while let Ok(span) = told.try_recv() {
            let number = span.attributes.iter().find(|one| one.key.as_str() == "anser.client_seq");
            let failed = matches!(span.status, opentelemetry::trace::Status::Error { .. });
            ended.push((number.expect("a number").value.to_string(), failed));
        }
        let expected = [("1", false), ("2", false), ("3", false), ("4", true), ("5", true)];
        let expected = expected.into_iter().chain([("4", true)]);
        assert_eq!(ended, expected.map(|(seq, failed)| (seq.into(), failed)).collect::<Vec<_>>());

        assert_eq!((1..=1000).filter(|seq| begin(&mut followed, 0, *seq)).count(), FOLLOWED_MAX);
        followed.acked(&tracer, &member, 1000);
        assert_eq!(followed.0.capacity(), 0, "nothing is kept");
    }
}
