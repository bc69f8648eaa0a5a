//! C1, C2 and C9 of files: what a message promises can be fetched, is what was sent, and goes to
//! members only.

use std::collections::HashMap;

use super::{
    Checks, Of,
    commands::{Commands, Send},
    relations::Relations,
    views::Place,
    world::World,
};
use crate::torture::history::{FileBytes, Got, Message, User, What};

const NOT_MEMBER: u32 = 60;

pub(super) fn check(
    world: &World<'_>,
    commands: &Commands<'_>,
    relations: &Relations,
    checks: &mut Checks,
) {
    let mut files = Files { world, commands, relations, checks, last: HashMap::new() };
    for (index, what) in world.iter() {
        match what {
            What::Fetched { user, message, got, .. } => files.fetched(index, *user, message, got),
            What::GaveUp { op, code } => files.given_up(index, *op, *code),
            _ => {}
        }
    }
    files.finals();
}

struct Files<'w, 'a> {
    world: &'w World<'a>,
    commands: &'w Commands<'a>,
    relations: &'w Relations,
    checks: &'w mut Checks,
    /// What came of it when a user fetched the file of a message last, after all faults.
    last: HashMap<(User, Place), (usize, &'a Got)>,
}

impl<'a> Files<'_, 'a> {
    /// The call that sent the file of a message, and its bytes.
    fn sent(&self, message: &Message) -> Option<(usize, &'a FileBytes)> {
        let name = (message.device, message.client_seq);
        let number = self.commands.send_of(name, message.text.as_deref())?;
        Some((self.commands.began(number), self.commands.sends[number].file?))
    }

    fn fetched(&mut self, index: usize, user: User, message: &'a Message, got: &'a Got) {
        let place = (message.conversation, message.conv_seq);
        if let Some((pair, first)) = self.relations.of(message.conversation)
            && user != pair.0
            && user != pair.1
        {
            self.checks.examine(Of::Isolation);
            if matches!(got, Got::Whole(_) | Got::Damaged) {
                self.checks.fail(Of::Isolation, &[first, index], || {
                    format!("user {user} got a file of conversation {} of others", place.0)
                });
            }
            return;
        }
        if self.world.settling.is_some_and(|settling| settling < index) {
            self.last.insert((user, place), (index, got));
        }
        let Some((call, sent)) = self.sent(message) else { return };
        let told = format!("the file of message {} of conversation {}", place.1, place.0);
        match got {
            Got::Whole(bytes) => {
                self.checks.examine(Of::Phantom);
                if bytes != sent {
                    self.checks.fail(Of::Phantom, &[call, index], || {
                        format!("{told} is not what was sent")
                    });
                }
            }
            Got::Damaged => self.checks.fail(Of::Phantom, &[call, index], || {
                format!("{told} came with bytes that were not sent")
            }),
            // The message itself may be one that a restore took back.
            Got::Refused(code) if !self.world.epochs.restored_between(call, index) => {
                self.checks.fail(Of::Loss, &[call, index], || {
                    format!("{told} was refused ({code}) to a member")
                });
            }
            Got::Refused(_) | Got::Broken => {}
        }
    }

    /// Every message of the final view has its file, for each who was told of it.
    fn finals(&mut self) {
        let mut finals: Vec<_> = self.world.end.finals.iter().collect();
        finals.sort_unstable_by_key(|(key, _)| **key);
        for ((user, _), (at, messages)) in finals {
            for message in *messages {
                let Some((call, _)) = self.sent(message) else { continue };
                self.checks.examine(Of::Loss);
                let place = (message.conversation, message.conv_seq);
                let found = self.last.get(&(*user, place));
                let index = found.map_or(*at, |found| found.0);
                let excused = match found {
                    // Wrong bytes are another rule's.
                    Some((_, Got::Whole(_) | Got::Damaged)) => true,
                    Some((_, Got::Refused(_))) => self.world.epochs.files_lost_between(call, index),
                    Some((_, Got::Broken)) | None => false,
                };
                if !excused {
                    self.checks.fail(Of::Loss, &[call, index], || {
                        let (conversation, conv_seq) = place;
                        format!(
                            "the file of message {conv_seq} of conversation {conversation} is not \
                             there for user {user}"
                        )
                    });
                }
            }
        }
    }

    /// A file is given up only for a reason that the history knows.
    fn given_up(&mut self, index: usize, op: u64, code: Option<u32>) {
        let is_it = |send: &&Send<'_>| send.call.is_some_and(|(_, call)| call == op);
        let Some(send) = self.commands.sends.iter().find(is_it) else { return };
        let Some((call, _)) = send.call else { return };
        self.checks.examine(Of::Loss);
        let is_justified = match code {
            Some(NOT_MEMBER) => self.relations.may_be_closed(send.conversation, call, index),
            // The key is gone that its message would be sealed with.
            None => self.relations.may_lack_key(send.conversation),
            Some(_) => false,
        };
        if !is_justified {
            self.checks.fail(Of::Loss, &[call, index], || {
                format!("client {}: a file was given up for no reason", send.client)
            });
        }
    }
}
