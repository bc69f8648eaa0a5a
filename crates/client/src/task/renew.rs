//! New devices and snapshots: the ways back when a position can not be continued.

use anser_proto::{ConversationId, Seq, rest, wire};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message as _;

use super::Task;
use crate::{
    client::{Local, seal},
    error::{ErrorKind, Result},
    event::{Content, Event},
    model::Outcome,
    outbox::Item,
    rest::Range,
    storage::{Change, Identity},
};

/// Messages of one page; the server's default maximum.
const PAGE: u32 = 200;
/// Pages that are searched for what an ended device had sent.
const SEARCH_PAGES: usize = 5;

impl Task {
    /// Logs in as a new device; the outbox starts empty.
    pub(super) async fn log_in(&self) -> Result<()> {
        let session = self.credentials.login(&self.shared.rest).await?;
        let identity = Identity {
            user: session.user.id,
            name: session.user.name,
            device: session.device,
            token: session.token,
        };
        let mut local = self.shared.local.lock();
        let outcome = local.model.become_device(identity);
        self.shared.settle(&mut local, outcome)
    }

    /// Takes all state anew and goes on from the position that it tells.
    pub(super) async fn take_snapshot(&self) -> Result<()> {
        let rest = self.rest();
        let snapshot = rest.snapshot().await?;
        let mut outcome = Outcome::default();
        let mut fetch = Vec::new();
        {
            let mut local = self.shared.local.lock();
            for relation in &snapshot.relations {
                local.model.on_rest_relation(relation, &mut outcome);
            }
            for conversation in &snapshot.conversations {
                let held = self.held(&local, conversation);
                if conversation.head > held {
                    fetch.push((conversation.id, held));
                }
                local.model.on_rest_conversation(conversation, &mut outcome);
            }
            self.shared.settle(&mut local, std::mem::take(&mut outcome))?;
        }
        for (conversation, held) in fetch {
            self.fetch_history(conversation, held).await?;
        }
        let mut local = self.shared.local.lock();
        local.model.epoch.clone_from(&snapshot.epoch);
        local.model.position = snapshot.head;
        let epoch = Some(snapshot.epoch);
        outcome.changes.push(Change::Position { epoch, position: snapshot.head });
        self.shared.settle(&mut local, outcome)
    }

    /// Up to where this device need not fetch a conversation: what it holds, or, when it holds none
    /// of it, what other devices of this user have got (older messages are there on demand).
    fn held(&self, local: &Local, conversation: &rest::Conversation) -> Seq {
        let known = local.model.watermarks(conversation.id).head;
        if known > 0 {
            return known;
        }
        let user = local.model.user();
        let own = conversation.members.iter().find(|member| member.user.id == user);
        own.map_or(0, |member| member.delivered)
    }

    async fn fetch_history(&self, conversation: ConversationId, mut after: Seq) -> Result<()> {
        loop {
            let page = self.rest().history(conversation, Range::After(after), PAGE).await?;
            let mut outcome = Outcome::default();
            let mut local = self.shared.local.lock();
            for message in &page.messages {
                after = message.conv_seq;
                let body = STANDARD.decode(&message.body).unwrap_or_default();
                local.model.on_history(message, &body, &mut outcome);
            }
            self.shared.settle(&mut local, outcome)?;
            if !page.more_after || page.messages.is_empty() {
                return Ok(());
            }
        }
    }

    /// The device can not go on: logs in as a new one and moves over what was not sent.
    ///
    /// `all_applied`: the storage is an old copy, so the server has more than is known here, and all of
    /// these numbers were used. Else the session ended with commands that were perhaps applied and
    /// perhaps not: the history tells.
    pub(super) async fn become_new_device(&self, all_applied: bool) -> Result<()> {
        let (old_device, candidates) = {
            let local = self.shared.local.lock();
            let conversations: Vec<_> = local.model.outbox.conversations();
            (local.model.device(), conversations)
        };
        self.shared.local.lock().model.epoch.clear();
        let session = self.credentials.login(&self.shared.rest).await?;
        let rest = self.shared.rest.with_token(&session.token);
        let mut applied = if all_applied { Seq::MAX } else { 0 };
        if !all_applied {
            for conversation in candidates {
                applied = applied.max(highest_sent(&rest, conversation, old_device).await?);
            }
        }
        let identity = Identity {
            user: session.user.id,
            name: session.user.name,
            device: session.device,
            token: session.token,
        };
        let mut local = self.shared.local.lock();
        let unsent = self.take_unsent(&mut local, applied);
        let outcome = local.model.become_device(identity);
        self.shared.settle(&mut local, outcome)?;
        for (conversation, mut item) in unsent {
            let Some(content) = item.content.clone() else { continue };
            let client_seq = local.model.outbox.head() + 1;
            item.command = seal(&local.model, conversation, client_seq, &content)?;
            if let Some(handle) = &item.handle {
                handle.0.moved(client_seq);
            }
            local.enqueue(item)?;
        }
        Ok(())
    }

    /// Takes the messages that were not applied out of the outbox, opened.
    fn take_unsent(&self, local: &mut Local, applied: Seq) -> Vec<(ConversationId, Item)> {
        let acked = local.model.outbox.acked();
        let taken = local.model.outbox.take_above(applied.max(acked));
        let opened = taken.into_iter().filter_map(|(client_seq, mut item)| {
            let command = wire::Command::decode(item.command.clone()).ok()?;
            let Some(wire::command::Kind::Send(send)) = &command.kind else { return None };
            if item.content.is_none() {
                item.content = Some(local.model.open_own(client_seq, send, &command.body));
            }
            Some((ConversationId(send.conversation), item))
        });
        opened.filter(|(_, item)| matches!(item.content, Some(Content::Text(_)))).collect()
    }

    /// Fetches all relations with their keys.
    pub(super) async fn fetch_keys(&self) -> Result<()> {
        let relations = self.rest().relations().await?;
        let mut outcome = Outcome::default();
        let mut local = self.shared.local.lock();
        for relation in &relations.relations {
            local.model.on_rest_relation(relation, &mut outcome);
        }
        self.shared.settle(&mut local, outcome)
    }

    /// The server asked to start from a snapshot.
    pub(super) async fn on_reset(&self, reset: &wire::Reset) -> Result<()> {
        {
            let mut local = self.shared.local.lock();
            let mut outcome = Outcome::default();
            local.model.outbox.ack(reset.outbox_position);
            if local.model.outbox.trim(reset.outbox_position) {
                outcome.changes.push(Change::Trim { through: reset.outbox_position });
            }
            outcome.events.push(Event::Reset);
            self.shared.settle(&mut local, outcome)?;
        }
        self.take_snapshot().await
    }
}

/// The highest command number of `device` among the newest messages of a conversation.
async fn highest_sent(
    rest: &crate::rest::Authorized,
    conversation: ConversationId,
    device: anser_proto::DeviceId,
) -> Result<Seq> {
    let mut range = Range::Latest;
    for _ in 0..SEARCH_PAGES {
        let page = match rest.history(conversation, range, PAGE).await {
            Ok(page) => page,
            Err(error) if matches!(error.kind(), ErrorKind::Refused(_)) => return Ok(0),
            Err(error) => return Err(error),
        };
        let sent = page.messages.iter().rev().find(|message| message.device == device);
        if let Some(message) = sent {
            return Ok(message.client_seq);
        }
        match page.messages.first() {
            Some(first) if page.more_before => range = Range::Before(first.conv_seq),
            _ => return Ok(0),
        }
    }
    Ok(0)
}
