//! Snapshots: where a device starts that has no position to go on from.

use anser_proto::{ConversationId, Seq, id::NUMBER_MAX, rest, wire};

use super::{End, Task};
use crate::{
    error::{Error, ErrorKind, Result},
    event::{Event, Message},
    history,
    model::Outcome,
    rest::{Authorized, Range},
    shared::Local,
};

/// A snapshot whose state and messages are stored, but not yet its position.
pub(super) struct Taken {
    pub(super) epoch: String,
    pub(super) head: Seq,
}

impl Task {
    /// Takes all state anew and goes on from the position that it tells.
    pub(super) async fn take_snapshot(&self) -> Result<()> {
        let taken = self.fetch_snapshot(&self.shared.authorized()).await?;
        let mut outcome = Outcome::default();
        let mut local = self.shared.local.lock();
        local.model.start_from(taken.epoch, taken.head, &mut outcome);
        self.shared.settle(&mut local, &mut outcome)
    }

    /// The server asked to start from a snapshot.
    pub(super) async fn on_reset(&self, reset: &wire::Reset) -> Result<End> {
        let is_old_copy = {
            let outbox = &self.shared.local.lock().model.outbox;
            // Numbers were given out that this storage does not know of, or knows otherwise.
            reset.outbox_position > outbox.head()
                || outbox.contradicts(reset.outbox_position, &reset.outbox_digest)
        };
        if is_old_copy {
            return Ok(End::NewDevice);
        }
        self.shared.events.push([Event::Reset]);
        let taken = self.fetch_snapshot(&self.shared.authorized()).await?;
        if taken.epoch != reset.epoch {
            // The server was restored once more since: what it had applied is of a history that
            // ended. Forgetting that much would leave a gap that no connection closes again.
            return Ok(End::Again);
        }
        // The commands are forgotten with the new position, not before: a crash on the way here
        // would lose what became of them.
        let mut outcome = Outcome::default();
        let mut local = self.shared.local.lock();
        local.model.forget_through(reset.outbox_position, &mut outcome);
        local.model.start_from(taken.epoch, taken.head, &mut outcome);
        self.shared.settle(&mut local, &mut outcome)?;
        Ok(End::Again)
    }

    /// Fetches and stores the state and the messages that this device lacks; marks in the outbox
    /// what the history shows to be applied. Can be done again: everything is absolute, and
    /// [`below_own`] finds what an earlier try marked.
    pub(super) async fn fetch_snapshot(&self, rest: &Authorized) -> Result<Taken> {
        let snapshot = rest.snapshot().await?;
        if snapshot.head >= NUMBER_MAX {
            return Err(Error::new(ErrorKind::Protocol, "the snapshot's head is above 2^53"));
        }
        let mut outcome = Outcome::default();
        let other_history = {
            let mut local = self.shared.local.lock();
            for relation in &snapshot.relations {
                local.model.on_rest_relation(relation, &mut outcome);
            }
            self.shared.settle(&mut local, &mut outcome)?;
            local.model.epoch != snapshot.epoch
        };
        if other_history {
            for conversation in &snapshot.conversations {
                self.rewind(rest, conversation).await?;
            }
        }
        let mut missed = Vec::new();
        {
            let mut local = self.shared.local.lock();
            let undecided = local.model.outbox.conversations();
            for conversation in &snapshot.conversations {
                local.model.on_rest_conversation(conversation, &mut outcome);
                let held = held(&mut local, conversation, &undecided)?;
                if conversation.head > held {
                    missed.push((conversation.id, held));
                }
            }
            self.shared.settle(&mut local, &mut outcome)?;
        }
        for (conversation, held) in missed {
            self.fetch_history(rest, conversation, held).await?;
        }
        Ok(Taken { epoch: snapshot.epoch, head: snapshot.head })
    }

    async fn fetch_history(
        &self,
        rest: &Authorized,
        conversation: ConversationId,
        mut after: Seq,
    ) -> Result<()> {
        loop {
            let page = rest.history_page(conversation, Range::After(after)).await?;
            let mut outcome = Outcome::default();
            let mut local = self.shared.local.lock();
            let before = after;
            for message in &page.messages {
                after = after.max(message.conv_seq);
                local.model.on_history(message, &history::body(message), &mut outcome);
            }
            self.shared.settle(&mut local, &mut outcome)?;
            // A page that does not go on would be asked for again and again.
            if !page.more_after || after == before {
                return Ok(());
            }
        }
    }

    /// The server may have been restored: it lost its newest messages then, and gave their numbers
    /// to others. Finds up to where this device's copy is the server's, and forgets that it has
    /// more.
    async fn rewind(&self, rest: &Authorized, conversation: &rest::Conversation) -> Result<()> {
        let known = self.shared.local.lock().model.watermarks(conversation.id).head;
        let mut same = known.min(conversation.head);
        while same > 0 {
            let page = rest.history_page(conversation.id, Range::Before(same + 1)).await?;
            let mut local = self.shared.local.lock();
            let held =
                local.storage.messages(conversation.id, Some(same + 1), page.messages.len())?;
            let mut agrees = page.messages.is_empty();
            for message in page.messages.iter().rev() {
                let held = held.iter().find(|held| held.conv_seq == message.conv_seq);
                // What is not held here any more needs no repair.
                agrees = held.is_none_or(|held| is_same_row(held, message));
                if agrees {
                    break;
                }
                same = same.min(message.conv_seq.saturating_sub(1));
            }
            if agrees || !page.more_before {
                break;
            }
        }
        if same < known {
            let mut outcome = Outcome::default();
            let mut local = self.shared.local.lock();
            local.model.rewind(conversation.id, same, &mut outcome);
            self.shared.settle(&mut local, &mut outcome)?;
        }
        Ok(())
    }
}

/// Below the messages held here that may be commands of the outbox. An earlier try has stored them
/// and was cut off before it forgot the commands: only the history tells whose they are.
fn below_own(local: &mut Local, conversation: ConversationId, held: Seq) -> Result<Seq> {
    let (device, trimmed) = (local.model.device(), local.model.outbox.trimmed());
    let (mut before, mut below) = (None, held);
    loop {
        let page = local.storage.messages(conversation, before, HELD_PAGE)?;
        let Some(oldest) = page.first() else { return Ok(below) };
        before = Some(oldest.conv_seq);
        for own in page.iter().rev().filter(|message| message.device == device) {
            if own.client_seq <= trimmed {
                return Ok(below);
            }
            below = below.min(own.conv_seq.saturating_sub(1));
        }
    }
}

/// Messages that are read from the storage at once.
const HELD_PAGE: usize = 256;

/// Whether a message held here and one of the server are one row of one history. A command that was
/// applied before the restore and again after it can have got the same number, above others that
/// are gone: then only the time tells, and it tells nothing but this.
fn is_same_row(held: &Message, message: &rest::Message) -> bool {
    (held.device, held.client_seq, held.created_at_ms)
        == (message.device, message.client_seq, message.created_at_ms)
}

/// Up to where this device need not fetch a conversation: what it holds, or, when it holds none of
/// it, what other devices of this user have got (older messages are there on demand).
fn held(
    local: &mut Local,
    conversation: &rest::Conversation,
    undecided: &[ConversationId],
) -> Result<Seq> {
    let known = local.model.watermarks(conversation.id).head;
    // A command whose fate is open may have become a message below what others have got, or one
    // that is here already.
    if undecided.contains(&conversation.id) {
        return below_own(local, conversation.id, known);
    }
    if known > 0 {
        return Ok(known);
    }
    let user = local.model.user();
    let own = conversation.members.iter().find(|member| member.user.id == user);
    Ok(own.map_or(0, |member| member.delivered))
}
