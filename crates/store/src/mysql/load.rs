//! What a batch needs: locked in the order of devices, conversations, inboxes, each by their keys,
//! which is the order of every transaction of this engine. So two of them that want the same rows
//! wait for each other, and rarely for ever; then the server undoes one of them.

use std::collections::BTreeSet;

use anser_proto::fault::Fault;
use anser_proto::{ConversationId, DeviceId, SessionId, UserId, wire};
use sqlx::FromRow as _;
use sqlx::mysql::MySqlRow;

use super::failure::Failure;
use super::files;
use super::script::{bytes, list, numbers};
use super::tx::Tx;
use crate::apply::{self, Conversation, Device, Member, Session, WorkingSet};
use crate::{Batch, Hash, Record};

/// Keys of the rows that a batch needs, in the order of locking.
#[derive(Default)]
struct Needs {
    devices: BTreeSet<(UserId, DeviceId)>,
    conversations: BTreeSet<ConversationId>,
    users: BTreeSet<UserId>,
    once: BTreeSet<Hash>,
    files: Vec<u64>,
}

/// Loads and locks the rows of a batch.
pub(super) async fn load(
    tx: &mut Tx,
    batch: &Batch,
    commands: &[Option<wire::Command>],
) -> Result<WorkingSet, Failure> {
    let needs = Needs::of(batch, commands);
    let mut set = WorkingSet::default();
    let mut users = needs.users.clone();

    let mut statements = vec![needs.devices_sql()];
    if !needs.conversations.is_empty() {
        let wanted = list(needs.conversations.iter().map(|id| id.0));
        statements.push(conversations_sql(&wanted));
        statements.push(members_sql(&wanted));
    }
    if !needs.once.is_empty() {
        statements.push(needs.once_sql());
    }
    let mut results = tx.script(statements.join(";")).await?.into_iter();
    let mut next = || results.next().unwrap_or_default();
    for row in next() {
        device(&mut set, &row)?;
    }
    if !needs.conversations.is_empty() {
        for row in next() {
            let (id, is_open, head, key_version): (u64, u8, u64, u32) = <_>::from_row(&row)?;
            let members = Vec::new();
            let row = Conversation { open: is_open != 0, head, key_version, members };
            set.conversations.insert(ConversationId(id), row);
        }
        for row in next() {
            users.insert(member(&mut set, &row)?);
        }
    }
    if !needs.once.is_empty() {
        for row in next() {
            let (key,): (Vec<u8>,) = <_>::from_row(&row)?;
            set.once.extend(Hash::try_from(key));
        }
    }
    if Fault::DeliverAcross.is_on() {
        let any = "SELECT user FROM im_user ORDER BY user DESC LIMIT 1";
        let any: Option<(u64,)> = tx.one(sqlx::query(any)).await?;
        set.stranger = any.map(|(user,)| UserId(user));
        users.extend(set.stranger);
    }
    for file in files::find(tx, &needs.files, "FOR UPDATE").await? {
        set.files.insert(file.id, file);
    }
    heads(tx, &mut set, &users).await?;
    Ok(set)
}

/// Locks the heads of inboxes and loads them.
pub(super) async fn heads(
    tx: &mut Tx,
    set: &mut WorkingSet,
    users: &BTreeSet<UserId>,
) -> Result<(), Failure> {
    let wanted = list(users.iter().map(|user| user.0));
    let select = format!(
        "SELECT user, head FROM im_inbox_head FORCE INDEX (PRIMARY) WHERE user IN ({wanted}) \
         ORDER BY user FOR UPDATE"
    );
    let rows: Vec<(u64, u64)> = tx.select(select).await?;
    set.heads.extend(rows.into_iter().map(|(user, head)| (UserId(user), head)));
    // A record may name a user who does not exist. A row of ours may not.
    let members = set.conversations.values().flat_map(|one| one.members.iter().map(|it| it.user));
    let owners = set.devices.values().map(|device| device.user);
    match members.chain(owners).find(|user| !set.heads.contains_key(user)) {
        Some(user) => Err(Failure::corrupt(format!("user {user} has no inbox"))),
        None => Ok(()),
    }
}

impl Needs {
    fn of(batch: &Batch, commands: &[Option<wire::Command>]) -> Self {
        let mut needs = Self::default();
        for (record, command) in batch.records.iter().zip(commands) {
            let (Record::Command { user, device, .. } | Record::Ack { user, device, .. }) = record;
            needs.devices.insert((*user, *device));
            needs.users.insert(*user);
            apply::conversations(record, command.as_ref(), |id| {
                needs.conversations.insert(id);
            });
            needs.files.extend(apply::listed_files(command.as_ref()));
            if let Record::Command { once: Some(once), .. } = record {
                needs.once.insert(**once);
            }
        }
        needs
    }

    fn devices_sql(&self) -> String {
        let mut wanted = String::new();
        for (user, device) in &self.devices {
            wanted.push_str(if wanted.is_empty() { "(" } else { ",(" });
            numbers(&mut wanted, [user.0, device.0]);
            wanted.push(')');
        }
        // Without its index a small table would be searched whole, and wait for rows of others.
        format!(
            "SELECT {DEVICE_COLUMNS} FROM im_device FORCE INDEX (PRIMARY) \
             WHERE (user, device) IN ({wanted}) ORDER BY user, device FOR UPDATE"
        )
    }

    fn once_sql(&self) -> String {
        let mut wanted = String::new();
        for key in &self.once {
            wanted.push_str(if wanted.is_empty() { "" } else { "," });
            bytes(&mut wanted, key);
        }
        format!("SELECT once_key FROM im_once WHERE once_key IN ({wanted})")
    }
}

fn conversations_sql(wanted: &str) -> String {
    format!(
        "SELECT conversation, is_open, head, key_version FROM im_conversation \
         FORCE INDEX (PRIMARY) WHERE conversation IN ({wanted}) ORDER BY conversation FOR UPDATE"
    )
}

/// Not locked: who changes a member has locked their conversation, and each statement reads what is
/// committed.
fn members_sql(wanted: &str) -> String {
    format!(
        "SELECT conversation, user, delivered_seq, read_seq, joined_at_seq FROM im_member \
         FORCE INDEX (PRIMARY) WHERE conversation IN ({wanted}) ORDER BY conversation, user"
    )
}

/// Columns of `im_device` in the order that [`device`] reads.
pub(super) const DEVICE_COLUMNS: &str = "user, device, outbox_position, inbox_position, \
     seen_at_ms, digests, session, session_over";

/// A row of [`DEVICE_COLUMNS`].
pub(super) fn device(set: &mut WorkingSet, row: &MySqlRow) -> Result<DeviceId, Failure> {
    type Row = (u64, u64, u64, u64, u64, Vec<u8>, Option<u64>, u8);
    let row: Row = <_>::from_row(row)?;
    let (user, id) = (UserId(row.0), DeviceId(row.1));
    let (digests, rest) = row.5.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Failure::corrupt(format!("device {id}: its digests are cut off")));
    }
    let device = Device {
        user,
        outbox_position: row.2,
        inbox_position: row.3,
        seen_at_ms: row.4,
        digests: digests.iter().map(|digest| u64::from_be_bytes(*digest)).collect(),
        dirty: false,
    };
    set.devices.insert(id, device);
    if let Some(session) = row.6 {
        set.sessions.insert(id, Session { id: SessionId(session), over: row.7 != 0 });
    }
    Ok(id)
}

fn member(set: &mut WorkingSet, row: &MySqlRow) -> Result<UserId, Failure> {
    let row: (u64, u64, u64, u64, u64) = <_>::from_row(row)?;
    let (id, user) = (ConversationId(row.0), UserId(row.1));
    let member =
        Member { user, delivered: row.2, read: row.3, joined_at_seq: row.4, ..Member::default() };
    // Without a row, the conversation was made after rows were looked for: this batch is before it.
    if let Some(conversation) = set.conversations.get_mut(&id) {
        conversation.members.push(member);
    }
    Ok(user)
}
