//! C1: a rejection has a reason that the history knows.

use super::{
    Checks, Of,
    commands::{Candidate, Commands},
    epochs::Epoch,
    log::{Found, Log},
    relations::Relations,
    views::Name,
    world::World,
};
use crate::torture::history::{Command, Conversation, Kind};

const NOT_MEMBER: u32 = 60;
const READ_ABOVE_HEAD: u32 = 65;

pub(super) fn check(
    world: &World<'_>,
    commands: &Commands<'_>,
    log: &Log,
    relations: &Relations,
    checks: &mut Checks,
) {
    let mut rejections: Vec<_> = log.results().filter_map(rejection).collect();
    rejections.sort_unstable_by_key(|(found, name, _)| (found.index, *name));
    let judge = Judge { world, commands, relations };
    for (found, name, code) in rejections {
        // A command that nobody gave is a phantom, which is judged elsewhere.
        let Some(named) = commands.names.get(&name) else { continue };
        checks.examine(Of::Loss);
        let is_justified = named.candidates.iter().any(|one| judge.justifies(one, code, found));
        if !is_justified && let Some(first) = named.candidates.first() {
            let began = first.send.map_or(first.index, |send| commands.began(send));
            checks.fail(Of::Loss, &[began, first.index, found.index], || {
                format!("a command of device {} was rejected ({code}) for no reason", name.0)
            });
        }
    }
}

fn rejection((_, name, found): (Epoch, Name, &Found)) -> Option<(Found, Name, u32)> {
    match found.kind {
        Kind::Rejected { code, .. } => Some((*found, name, code)),
        _ => None,
    }
}

struct Judge<'w, 'a> {
    world: &'w World<'a>,
    commands: &'w Commands<'a>,
    relations: &'w Relations,
}

impl Judge<'_, '_> {
    fn justifies(&self, command: &Candidate<'_>, code: u32, found: Found) -> bool {
        let began = command.send.map_or(command.index, |send| self.commands.began(send));
        let restored = self.world.epochs.restored_between(0, found.index);
        match (code, command.command) {
            (
                NOT_MEMBER,
                Command::Send { conversation, .. } | Command::Read { conversation, .. },
            ) => self.relations.may_be_closed(*conversation, began, found.index),
            (READ_ABOVE_HEAD, Command::Read { conversation, conv_seq }) => {
                restored || *conv_seq > self.head(*conversation)
            }
            _ => restored,
        }
    }

    /// The last message of a conversation in the end.
    fn head(&self, conversation: Conversation) -> u64 {
        let finals = self.world.end.finals.iter();
        let of_it = finals.filter(|((_, one), _)| *one == conversation);
        of_it.filter_map(|(_, (_, messages))| Some(messages.last()?.conv_seq)).max().unwrap_or(0)
    }
}
