//! What became of commands, as far as anybody saw it, in whatever epoch.

use std::collections::HashMap;

use super::{commands::Commands, log::Log, views::Name, world::World};
use crate::torture::history::Kind;

/// What became of commands.
pub(super) struct Fates {
    /// Rejections by command, each with its record.
    pub(super) rejected: HashMap<Name, usize>,
    /// By send: whether anybody saw its message.
    pub(super) seen: Vec<bool>,
}

impl Fates {
    pub(super) fn new(world: &World<'_>, commands: &Commands<'_>, log: &Log) -> Self {
        let mut rejected: HashMap<Name, usize> = HashMap::new();
        for (_, name, found) in log.results() {
            if let Kind::Rejected { .. } = found.kind {
                let first = rejected.entry(name).or_insert(found.index);
                *first = found.index.min(*first);
            }
        }
        let mut seen = vec![false; commands.sends.len()];
        // Names that stand for several sends, and whether somebody saw which of them it is.
        let mut several: HashMap<Name, bool> = HashMap::new();
        world.messages(|sight| {
            let send = commands.send_of(sight.name, sight.text);
            if let Some(send) = send {
                seen[send] = true;
            }
            let named = commands.names.get(&sight.name);
            if named.is_some_and(|named| named.candidates.len() > 1) {
                *several.entry(sight.name).or_default() |= send.is_some();
            }
        });
        for (name, _) in several.into_iter().filter(|(_, is_known)| !is_known) {
            let candidates = commands.names.get(&name).map_or(&[][..], |named| &named.candidates);
            candidates.iter().filter_map(|one| one.send).for_each(|send| seen[send] = true);
        }
        Self { rejected, seen }
    }

    /// Whether a send was rejected under one of its names.
    pub(super) fn is_rejected(&self, names: &[(Name, usize)]) -> bool {
        names.iter().any(|(name, _)| self.rejected.contains_key(name))
    }
}
