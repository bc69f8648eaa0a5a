//! What REST tells: relations, snapshots and history, beside the entries of the inbox.

use anser_proto::{ConversationId, Seq, rest, seal::Place, wire};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{KeyMissing, Model, Outcome, place};
use crate::{
    event::{Message, Relation},
    storage::{Change, SavedRelation},
};

impl Model {
    /// A message of the history, after a reset.
    pub(crate) fn on_history(&mut self, message: &rest::Message, body: &[u8], out: &mut Outcome) {
        let message = wire::Message {
            conversation: message.conversation.0,
            conv_seq: message.conv_seq,
            sender: message.sender.0,
            device: message.device.0,
            client_seq: message.client_seq,
            key_version: message.key_version,
            created_at_ms: message.created_at_ms,
        };
        let place = place(&message);
        // The same number with another body is a message that another copy of this storage sent.
        if place.device == self.device()
            && self.outbox.body(message.client_seq).is_some_and(|sealed| sealed == body)
            && let Some(item) = self.outbox.item_mut(message.client_seq)
        {
            item.applied = true;
            if let Some(handle) = item.handle.take() {
                let known = self.conversations.entry(place.conversation).or_default();
                known.follow(message.conv_seq, handle);
            }
        }
        if message.conv_seq > self.watermarks(place.conversation).head {
            let content = self.open_known(&place, body);
            self.store_message(&message, content, out);
        }
    }

    /// A message of the history, for somebody who looks back: nothing is changed.
    ///
    /// # Errors
    /// [`KeyMissing`].
    pub(crate) fn open_history(
        &self,
        message: &rest::Message,
        body: &[u8],
        keys_are_fresh: bool,
    ) -> Result<Message, KeyMissing> {
        let place = Place {
            conversation: message.conversation,
            sender: message.sender,
            device: message.device,
            client_seq: message.client_seq,
            key_version: message.key_version,
        };
        Ok(Message {
            conversation: message.conversation,
            conv_seq: message.conv_seq,
            sender: message.sender,
            device: message.device,
            client_seq: message.client_seq,
            created_at_ms: message.created_at_ms,
            content: self.open(&place, body, keys_are_fresh)?,
        })
    }

    /// A relation with its keys, as REST tells it.
    pub(crate) fn on_rest_relation(&mut self, relation: &rest::Relation, outcome: &mut Outcome) {
        let view = Relation::from_rest(relation);
        let decode = |key: &rest::RelationKey| STANDARD.decode(&key.key).ok()?.try_into().ok();
        let saved = SavedRelation {
            id: view.id,
            peer: view.peer,
            peer_name: view.peer_name,
            state: view.state as i32,
            keys: relation.keys.iter().map_while(decode).collect(),
        };
        outcome.changes.push(Change::Relation(saved.clone()));
        self.put_relation(saved);
    }

    /// The keys of a relation, as an answer of REST tells them that may be older than the state
    /// here.
    pub(crate) fn on_rest_keys(&mut self, relation: &rest::Relation, outcome: &mut Outcome) {
        let state = self.relations.get(&relation.id).map(|known| known.state);
        self.on_rest_relation(relation, outcome);
        if let Some(state) = state
            && let Some(known) = self.relations.get_mut(&relation.id)
        {
            known.state = state;
            outcome.changes.push(Change::Relation(known.clone()));
        }
    }

    /// A conversation's watermarks, as a snapshot tells them.
    pub(crate) fn on_rest_conversation(
        &mut self,
        conversation: &rest::Conversation,
        outcome: &mut Outcome,
    ) {
        let user = self.user();
        let known = self.conversations.entry(conversation.id).or_default();
        for member in &conversation.members {
            if member.user.id == user {
                known.watermarks.read = known.watermarks.read.max(member.read);
            } else {
                known.on_receipt(member.delivered, member.read);
            }
        }
        outcome.touch(conversation.id);
    }

    /// The server has another history than this device: what is above `head` here never happened.
    pub(crate) fn rewind(&mut self, conversation: ConversationId, head: Seq, out: &mut Outcome) {
        self.conversations.entry(conversation).or_default().rewind(head);
        out.changes.push(Change::Rewind { conversation, head });
        out.touch(conversation);
    }
}
