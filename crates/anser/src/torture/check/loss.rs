//! C1: what was acked is there, for everybody, or was rejected; and nothing stays undecided.

use std::collections::HashMap;

use super::{
    Checks, Of,
    commands::{Candidate, Commands, Ended, Named, Send},
    epochs::Epoch,
    fates::Fates,
    log::Log,
    relations::Relations,
    views::Name,
    world::World,
};
use crate::torture::history::{ClientId, Command, Kind, User, What};

/// What was found on the way.
pub(super) struct Lost {
    /// Acked since the backup that was restored, and gone.
    pub(super) rolled_back: usize,
}

pub(super) fn check(
    world: &World<'_>,
    commands: &Commands<'_>,
    (log, fates): (&Log, &Fates),
    relations: &Relations,
    checks: &mut Checks,
) -> Lost {
    let mut loss = Loss {
        world,
        commands,
        log,
        fates,
        checks,
        relations,
        finals: HashMap::new(),
        gone: HashMap::new(),
        renewed: HashMap::new(),
        rolled_back: 0,
    };
    loss.read();
    loss.sends();
    loss.names();
    loss.inboxes();
    loss.drained();
    Lost { rolled_back: loss.rolled_back }
}

struct Loss<'w, 'a> {
    world: &'w World<'a>,
    commands: &'w Commands<'a>,
    log: &'w Log,
    fates: &'w Fates,
    checks: &'w mut Checks,
    relations: &'w Relations,
    /// The users whose final view has a message.
    finals: HashMap<Name, Vec<(User, Option<&'a str>)>>,
    /// When a client lost what it had: it was wiped, or an old copy was put back.
    gone: HashMap<ClientId, Vec<Gone>>,
    /// When a client last became a device.
    renewed: HashMap<ClientId, usize>,
    rolled_back: usize,
}

/// A client lost what it had got since one record, at another.
struct Gone {
    since: usize,
    at: usize,
}

impl Loss<'_, '_> {
    fn read(&mut self) {
        for ((user, _), (_, messages)) in &self.world.end.finals {
            for message in *messages {
                let name = (message.device, message.client_seq);
                let views = self.finals.entry(name).or_default();
                views.push((*user, message.text.as_deref()));
            }
        }
        let mut copied = HashMap::new();
        for (index, what) in self.world.iter() {
            match what {
                What::Copied { client } => _ = copied.insert(*client, index),
                What::Wiped { client } => {
                    self.gone.entry(*client).or_default().push(Gone { since: 0, at: index });
                }
                What::OldCopy { client } => {
                    let since = copied.get(client).copied().unwrap_or(0);
                    self.gone.entry(*client).or_default().push(Gone { since, at: index });
                }
                What::Became { client, .. } => _ = self.renewed.insert(*client, index),
                _ => {}
            }
        }
    }

    fn sends(&mut self) {
        for number in 0..self.commands.sends.len() {
            let send = &self.commands.sends[number];
            match self.surviving(&send.acks) {
                None => self.undecided(number, send),
                Some((acked, survives)) => {
                    self.checks.examine(Of::Loss);
                    self.acked(number, send, acked, survives);
                }
            }
        }
    }

    /// The record of the ack that says most, and whether the promise holds to the end.
    fn surviving(&self, acks: &[(Epoch, usize)]) -> Option<(usize, bool)> {
        let survives = |ack: &&(Epoch, usize)| self.world.epochs.survives(ack.0, ack.1);
        let promised = acks.iter().find(survives);
        promised.map(|ack| (ack.1, true)).or_else(|| acks.first().map(|ack| (ack.1, false)))
    }

    fn acked(&mut self, number: usize, send: &Send<'_>, acked: usize, survives: bool) {
        let fits =
            |text: &Option<&str>| text.is_none() || send.text.is_none() || *text == send.text;
        let views = send.names.iter().flat_map(|(name, _)| self.finals.get(name)).flatten();
        let holders: Vec<User> =
            views.filter(|(_, text)| fits(text)).map(|(user, _)| *user).collect();
        let began = self.commands.began(number);
        if !holders.is_empty() {
            let pair = self.relations.of(send.conversation).map(|(pair, _)| pair);
            let members = pair.map_or_else(Vec::new, |pair| vec![pair.0, pair.1]);
            if let Some(member) = members.iter().find(|member| !holders.contains(member)) {
                let views = self.world.end.finals.get(&(*member, send.conversation));
                let history: Vec<_> =
                    [began, acked].into_iter().chain(views.map(|view| view.0)).collect();
                self.checks.fail(Of::Loss, &history, || {
                    format!("an acked send is not in the final view of user {member}")
                });
            }
            return;
        }
        let last = self.world.epochs.last();
        let sender = self.world.user_of(send.client).unwrap_or_default();
        let is_rejected = |name: &Name| {
            let result = self.log.result(last, sender, *name);
            result.is_some_and(|found| matches!(found.kind, Kind::Rejected { .. }))
        };
        if send.names.iter().any(|(name, _)| is_rejected(name)) {
            return;
        }
        if survives {
            let names: Vec<_> = send.names.iter().map(|(_, index)| *index).collect();
            let history = [&[began, acked][..], &names].concat();
            self.checks.fail(Of::Loss, &history, || {
                let client = send.client;
                format!("client {client}: an acked send is in no final view, nor was it rejected")
            });
        } else {
            self.rolled_back += 1;
        }
    }

    /// A send that no ack can only be of.
    fn undecided(&mut self, number: usize, send: &Send<'_>) {
        let Some(settling) = self.world.settling else { return };
        self.checks.examine(Of::Loss);
        let rejected = self.fates.is_rejected(&send.names);
        let ended = self.commands.ended(send);
        let refused = matches!(ended, Some((_, Ended::Refused | Ended::GivenUp)));
        if self.fates.seen[number] || rejected || refused {
            return;
        }
        let began = self.commands.began(number);
        let first = send.names.first().map_or(began, |(_, index)| *index);
        let queued = send.names.last().map_or(began, |(_, index)| *index);
        let gone = self.gone.get(&send.client).map_or(&[][..], Vec::as_slice);
        // What stood in the outbox when it was copied came back with the copy.
        if gone.iter().any(|gone| gone.since < first && queued < gone.at) {
            return;
        }
        let renewed = self.renewed.get(&send.client).is_some_and(|renewed| *renewed > queued);
        if renewed && self.relations.may_lack_key(send.conversation) {
            // The key that it was sealed with is gone, so the new device could not take it over.
            return;
        }
        self.checks.fail(Of::Loss, &[began, queued, settling], || {
            format!("client {}: nobody ever learnt what became of a send", send.client)
        });
    }

    /// Acked read marks, and acked names of which it is not known whose they are.
    fn names(&mut self) {
        let mut names: Vec<_> = self.commands.names.iter().collect();
        names.sort_unstable_by_key(|(name, _)| **name);
        for (name, named) in names {
            let Some(first) = named.candidates.first() else { continue };
            let only_a_send = named.candidates.len() == 1 && first.send.is_some();
            if !only_a_send && let Some((acked, survives)) = self.surviving(&named.acks) {
                self.name(*name, (named, first), acked, survives);
            }
        }
    }

    fn name(
        &mut self,
        name: Name,
        (named, first): (&Named<'_>, &Candidate<'_>),
        acked: usize,
        survives: bool,
    ) {
        let Some(user) = self.world.devices.get(&name.0).copied() else { return };
        let last = self.world.epochs.last();
        let Some((audit, floor, _)) = self.world.end.audits.get(&user).copied() else { return };
        self.checks.examine(Of::Loss);
        if floor > 1 || self.log.result(last, user, name).is_some() {
            return;
        }
        if survives {
            let what = match first.command {
                Command::Read { .. } if named.candidates.len() == 1 => "an acked read mark",
                _ => "an acked command",
            };
            self.checks.fail(Of::Loss, &[first.index, acked, audit], || {
                format!("{what} of device {} has no row in its user's inbox", name.0)
            });
        } else {
            self.rolled_back += 1;
        }
    }

    /// A message of the final view is in every member's inbox.
    fn inboxes(&mut self) {
        let last = self.world.epochs.last();
        let mut finals: Vec<_> = self.world.end.finals.iter().collect();
        finals.sort_unstable_by_key(|(key, _)| **key);
        for ((user, _), (index, messages)) in finals {
            let Some((audit, 1, _)) = self.world.end.audits.get(user).copied() else { continue };
            for message in *messages {
                self.checks.examine(Of::Loss);
                let name = (message.device, message.client_seq);
                let found = self.log.result(last, *user, name);
                if !found.is_some_and(|found| matches!(found.kind, Kind::Message { .. })) {
                    self.checks.fail(Of::Loss, &[*index, audit], || {
                        let (conversation, conv_seq) = (message.conversation, message.conv_seq);
                        format!(
                            "message {conv_seq} of conversation {conversation} is in the history \
                             and not in the inbox of user {user}"
                        )
                    });
                }
            }
        }
    }

    /// Every client came back and drained.
    fn drained(&mut self) {
        let Some(settling) = self.world.settling else { return };
        let mut clients: Vec<_> = self.renewed.iter().collect();
        clients.sort_unstable();
        for (client, became) in clients {
            self.checks.examine(Of::Loss);
            if !self.world.end.drained.contains_key(client) {
                self.checks.fail(Of::Loss, &[*became, settling], || {
                    format!("client {client} did not drain")
                });
            }
        }
    }
}
