//! Everything that anybody was shown, one by one: messages wherever they were seen, and rows of
//! inboxes.

use super::{epochs::Epoch, world::World};
use crate::torture::history::{ClientId, Conversation, Device, Kind, Message, Row, User, What};

/// A message's id: where it stands.
pub(super) type Place = (Conversation, u64);
/// A command's id: the device that gave it and its number there.
pub(super) type Name = (Device, u64);

/// A message was seen.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) index: usize,
    pub(super) user: User,
    /// `None` when it can not be told.
    pub(super) epoch: Option<Epoch>,
    /// The client in whose storage it is, if it is in one.
    pub(super) holder: Option<ClientId>,
    pub(super) place: Place,
    pub(super) sender: User,
    pub(super) name: Name,
    pub(super) text: Option<&'a str>,
}

/// A row was seen.
#[derive(Clone, Copy)]
pub(super) struct RowSight {
    pub(super) index: usize,
    pub(super) user: User,
    pub(super) epoch: Epoch,
    /// The device that it was pushed to; `None` when it was found in the database.
    pub(super) device: Option<Device>,
    pub(super) seq: u64,
    pub(super) row: Row,
}

/// The command whose result a row is.
pub(super) fn named(kind: &Kind) -> Option<Name> {
    match kind {
        Kind::Message { device, client_seq, .. }
        | Kind::ReadMark { device, client_seq, .. }
        | Kind::Rejected { device, client_seq, .. } => Some((*device, *client_seq)),
        Kind::Receipt { .. } | Kind::Relation { .. } | Kind::Unknown => None,
    }
}

impl<'a> World<'a> {
    /// Every row that was pushed or found, in order.
    pub(super) fn rows(&self, mut see: impl FnMut(RowSight)) {
        for (index, what) in self.iter() {
            match what {
                What::Pushed { conn, seq, row } => {
                    let Some(conn) = self.conns.get(conn) else { continue };
                    let Some(answer) = conn.answer else { continue };
                    let (user, epoch, device) = (conn.user, answer.epoch, Some(conn.device));
                    see(RowSight { index, user, epoch, device, seq: *seq, row: *row });
                }
                What::Audit { user, rows, .. } => {
                    let epoch = self.epochs.last();
                    for (seq, row) in rows {
                        let (user, seq, row) = (*user, *seq, *row);
                        see(RowSight { index, user, epoch, device: None, seq, row });
                    }
                }
                _ => {}
            }
        }
    }

    /// Every message that was pushed, paged, stored or found, in order.
    pub(super) fn messages(&self, mut see: impl FnMut(Sight<'a>)) {
        let last = Some(self.epochs.last());
        for (index, what) in self.iter() {
            match what {
                What::Pushed { conn, row, .. } => {
                    let (epoch, Some(conn)) = (self.epoch_of(*conn), self.conns.get(conn)) else {
                        continue;
                    };
                    of_row(row, Seen { index, user: conn.user, epoch, holder: None }, &mut see);
                }
                What::Audit { user, rows, .. } => {
                    let seen = Seen { index, user: *user, epoch: last, holder: None };
                    rows.iter().for_each(|(_, row)| of_row(row, seen, &mut see));
                }
                What::Holds { client, message, .. } => {
                    let Some(user) = self.user_of(*client) else { continue };
                    let (epoch, holder) = (self.held_in(index), Some(*client));
                    see(of_message(message, Seen { index, user, epoch, holder }));
                }
                What::Local { client, messages, .. } => {
                    let Some(user) = self.user_of(*client) else { continue };
                    let seen = Seen { index, user, epoch: last, holder: Some(*client) };
                    messages.iter().for_each(|message| see(of_message(message, seen)));
                }
                What::Page { user, messages, .. } => {
                    let epoch = self.epochs.at(index);
                    let seen = Seen { index, user: *user, epoch, holder: None };
                    messages.iter().for_each(|message| see(of_message(message, seen)));
                }
                What::Final { user, messages, .. } => {
                    let seen = Seen { index, user: *user, epoch: last, holder: None };
                    messages.iter().for_each(|message| see(of_message(message, seen)));
                }
                _ => {}
            }
        }
    }
}

/// Who saw, where and when.
#[derive(Clone, Copy)]
struct Seen {
    index: usize,
    user: User,
    epoch: Option<Epoch>,
    holder: Option<ClientId>,
}

fn of_row<'a>(row: &Row, seen: Seen, see: &mut impl FnMut(Sight<'a>)) {
    let Kind::Message { conversation, conv_seq, sender, device, client_seq } = row.kind else {
        return;
    };
    let Seen { index, user, epoch, holder } = seen;
    let (place, name) = ((conversation, conv_seq), (device, client_seq));
    see(Sight { index, user, epoch, holder, place, sender, name, text: None });
}

fn of_message(message: &Message, seen: Seen) -> Sight<'_> {
    let Seen { index, user, epoch, holder } = seen;
    let place = (message.conversation, message.conv_seq);
    let name = (message.device, message.client_seq);
    let (sender, text) = (message.sender, message.text.as_deref());
    Sight { index, user, epoch, holder, place, sender, name, text }
}
