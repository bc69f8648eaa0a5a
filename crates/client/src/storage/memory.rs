//! A storage that a crash empties: for tests, load generators and bots that may forget.

use std::collections::{HashMap, VecDeque};

use anser_proto::{ConversationId, Seq};

use super::{Change, Saved, Storage};
use crate::{error::Result, event::Message};

/// Messages kept per conversation, unless told otherwise.
const RETAIN_MESSAGES: usize = 1_000;

/// A storage in memory.
pub struct MemoryStorage {
    messages: HashMap<ConversationId, VecDeque<Message>>,
    retain: usize,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self { messages: HashMap::new(), retain: RETAIN_MESSAGES }
    }
}

impl MemoryStorage {
    /// Keeps the newest `count` messages of each conversation; 0 keeps none.
    #[must_use]
    pub fn retain_messages(mut self, count: usize) -> Self {
        self.retain = count;
        self
    }
}

impl Storage for MemoryStorage {
    fn load(&mut self) -> Result<Saved> {
        Ok(Saved::default())
    }

    /// Only messages are kept here: the client itself holds all else while it runs.
    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        if self.retain == 0 {
            return Ok(());
        }
        for change in changes {
            if let Change::Rewind { conversation, head } = change
                && let Some(kept) = self.messages.get_mut(conversation)
            {
                kept.retain(|message| message.conv_seq <= *head);
            }
            let Change::Message(message) = change else { continue };
            let kept = self.messages.entry(message.conversation).or_default();
            match kept.binary_search_by_key(&message.conv_seq, |kept| kept.conv_seq) {
                Ok(index) => kept[index] = message.clone(),
                Err(index) => kept.insert(index, message.clone()),
            }
            if kept.len() > self.retain {
                kept.pop_front();
            }
        }
        Ok(())
    }

    fn messages(
        &mut self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>> {
        let Some(kept) = self.messages.get(&conversation) else { return Ok(Vec::new()) };
        let below = |message: &&Message| before.is_none_or(|before| message.conv_seq < before);
        let mut page: Vec<_> = kept.iter().rev().filter(below).take(limit).cloned().collect();
        page.reverse();
        Ok(page)
    }
}
