//! C2: everything that anybody saw was asked for by somebody.

use super::{
    Checks, Of,
    commands::{Candidate, Commands, Ended},
    log::Log,
    views::{Name, Sight},
    world::World,
};
use crate::torture::history::{Command, Kind};

pub(super) fn check(world: &World<'_>, commands: &Commands<'_>, log: &Log, checks: &mut Checks) {
    world.messages(|sight| {
        checks.examine(Of::Phantom);
        if let Err(why) = message(world, commands, &sight) {
            let history = [&why.because[..], &[sight.index]].concat();
            checks.fail(Of::Phantom, &history, || {
                let ((conversation, conv_seq), name) = (sight.place, sight.name);
                format!(
                    "message {conv_seq} of conversation {conversation} (command {} of device {}) \
                     {}",
                    name.1, name.0, why.what
                )
            });
        }
    });
    let mut results: Vec<_> = log.results().collect();
    results.sort_unstable_by_key(|(_, name, found)| (found.index, found.seq, *name));
    for (_, name, found) in results {
        let Some((what, is_known)) = told(commands, name, &found.kind) else { continue };
        checks.examine(Of::Phantom);
        if !is_known {
            checks.fail(Of::Phantom, &[found.index], || {
                format!("a {what} names command {} of device {}, which is none", name.1, name.0)
            });
        }
        if world.devices.get(&name.0) != Some(&found.user) {
            checks.fail(Of::Phantom, &[found.index], || {
                format!("a {what} in the inbox of user {} is of another's device", found.user)
            });
        }
    }
}

/// What is wrong with a message.
struct Why {
    what: &'static str,
    because: Vec<usize>,
}

fn message(world: &World<'_>, commands: &Commands<'_>, sight: &Sight<'_>) -> Result<(), Why> {
    let wrong = |what, because| Err(Why { what, because });
    if world.devices.get(&sight.name.0) != Some(&sight.sender) {
        return wrong("has a sender whose device it is not", Vec::new());
    }
    let Some(named) = commands.names.get(&sight.name) else {
        return wrong("was never given", Vec::new());
    };
    let queued = || named.candidates.iter().map(|one| one.index).collect();
    let fits = |one: &&Candidate<'_>| match one.command {
        Command::Read { .. } => false,
        Command::Send { conversation, text } => {
            let texts = text.as_deref().zip(sight.text);
            *conversation == sight.place.0 && texts.is_none_or(|(one, other)| one == other)
        }
    };
    if !named.candidates.iter().any(|one| fits(&one)) {
        return wrong("is not what was given under this number", queued());
    }
    if let Some(send) = commands.send_of(sight.name, sight.text)
        && let Some((refused, Ended::Refused)) = commands.ended(&commands.sends[send])
    {
        return wrong("was refused when it was to be sent", vec![refused]);
    }
    Ok(())
}

/// Names a read mark or a rejection, and tells whether there was such a command.
fn told(commands: &Commands<'_>, name: Name, kind: &Kind) -> Option<(&'static str, bool)> {
    let candidates = commands.names.get(&name).map_or(&[][..], |named| &named.candidates);
    let any = |fits: &dyn Fn(&Command) -> bool| candidates.iter().any(|one| fits(one.command));
    match kind {
        Kind::ReadMark { conversation, read, .. } => {
            let fits = |command: &Command| {
                // A mark below one that was set before leaves the higher one.
                matches!(command, Command::Read { conversation: of, conv_seq }
                    if of == conversation && conv_seq <= read)
            };
            Some(("read mark", any(&fits)))
        }
        Kind::Rejected { conversation, .. } => {
            let fits = |command: &Command| match command {
                Command::Send { conversation: of, .. } | Command::Read { conversation: of, .. } => {
                    *conversation == 0 || of == conversation
                }
            };
            Some(("rejection", any(&fits)))
        }
        _ => None,
    }
}
