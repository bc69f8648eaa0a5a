//! Loads the rows of a dump into empty tables, in bounded batches.

use crate::dump::{self, Error, Next, Reader, Result, Row, Summary};
use crate::entry::message_of;
use crate::mysql::failure::Failure;
use crate::mysql::script::{Script, bytes, numbers};
use crate::mysql::tx::Tx;
use crate::relation::Ties;

/// What is being loaded.
pub(super) struct Loader<'t> {
    tx: &'t mut Tx,
    rows: Vec<Row>,
    bytes: usize,
}

impl<'t> Loader<'t> {
    pub(super) fn new(tx: &'t mut Tx) -> Self {
        Self { tx, rows: Vec::new(), bytes: 0 }
    }

    /// Loads all rows up to the dump's end.
    pub(super) async fn load(mut self, from: &mut Reader<'_>) -> Result<Summary> {
        loop {
            match from.next()? {
                Next::Row(row) => {
                    self.bytes += match &row {
                        Row::Message(message) => message.entry.len(),
                        Row::Entry(entry) => entry.entry.len(),
                        _ => 0,
                    };
                    self.rows.push(row);
                }
                Next::End(summary) => {
                    self.flush().await?;
                    return Ok(summary);
                }
            }
            if self.rows.len() >= ROWS_PER_BATCH || self.bytes >= BYTES_PER_BATCH {
                self.flush().await?;
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let mut script = Script::default();
        script.statement("START TRANSACTION");
        accounts(&mut script, &rows);
        relations(&mut script, &rows);
        conversations(&mut script, &rows);
        logs(&mut script, &rows)?;
        rest(&mut script, &rows);
        script.statement("COMMIT");
        self.tx.write(script).await?;
        Ok(())
    }
}

/// The rows of one table among others.
macro_rules! only {
    ($rows:expr, $kind:ident) => {
        $rows.iter().filter_map(|row| match row {
            Row::$kind(row) => Some(row),
            _ => None,
        })
    };
}

fn accounts(script: &mut Script, rows: &[Row]) {
    script.insert(USER, only!(rows, User), |text, user| {
        numbers(text, [user.id]);
        strings(text, [&user.name, &user.display_name]);
        match &user.password_hash {
            Some(hash) => strings(text, [hash]),
            None => text.push_str(",NULL"),
        }
        text.push(',');
        numbers(text, [user.state.into(), user.system.into(), user.created_at_ms]);
    });
    script.insert(USER_NAME, only!(rows, User), |text, user| {
        numbers(text, [user.id]);
        strings(text, [&user.name]);
    });
    script.insert(INBOX_HEAD, only!(rows, User), |text, user| {
        numbers(text, [user.id, user.inbox_head, user.inbox_floor]);
    });
    script.insert(INVITE, only!(rows, Invite), |text, invite| {
        numbers(text, [invite.created_at_ms, invite.used_by]);
        blob(text, &invite.code_hash);
    });
    script.insert(DEVICE, only!(rows, Device), |text, device| {
        let (outbox, inbox) = (device.outbox_position, device.inbox_position);
        numbers(text, [device.user, device.id, outbox, inbox, device.seen_at_ms]);
        let digests: Vec<[u8; 8]> = device.digests.iter().map(|one| one.to_be_bytes()).collect();
        blob(text, digests.as_flattened());
        // No session outlives the server that held it.
        text.push_str(",NULL,0");
    });
    script.insert(DEVICE_SESSION, only!(rows, Device), |text, device| {
        numbers(text, [device.user, device.id, device.created_at_ms]);
        strings(text, [&device.name]);
        blob(text, &device.token_hash);
    });
    script.insert(TOKEN, only!(rows, Device), |text, device| {
        numbers(text, [device.user, device.id]);
        blob(text, &device.token_hash);
    });
}

fn relations(script: &mut Script, rows: &[Row]) {
    script.insert(RELATION, only!(rows, Relation), |text, one| {
        numbers(text, [one.id, one.low, one.high]);
        text.push(',');
        let asks = [one.low_asks, one.high_asks];
        let [low_blocks, high_blocks] = [one.low_blocks, one.high_blocks];
        let flags = [one.friends, asks[0], asks[1], low_blocks, high_blocks];
        numbers(text, flags.map(u64::from));
    });
    let keys = only!(rows, Relation)
        .flat_map(|one| (1..).zip(&one.wrapped_keys).map(|(version, key)| (one.id, version, key)));
    script.insert(RELATION_KEY, keys, |text, (id, version, key): (_, u64, _)| {
        numbers(text, [id, version]);
        blob(text, key);
    });
    let ends = only!(rows, Relation).flat_map(|one| [(one, true), (one, false)]);
    script.insert(RELATION_PEER, ends, |text, (one, is_low)| {
        let (user, peer) = if is_low { (one.low, one.high) } else { (one.high, one.low) };
        let ties = Ties {
            friends: one.friends,
            asks: [one.low_asks, one.high_asks],
            blocks: [one.low_blocks, one.high_blocks],
        };
        let seen = i32::from(ties.seen_by(is_low));
        let seen = u64::try_from(seen).expect("its numbers are positive");
        numbers(text, [user, peer, one.id, seen]);
    });
}

fn conversations(script: &mut Script, rows: &[Row]) {
    script.insert(CONVERSATION, only!(rows, Conversation), |text, one| {
        numbers(text, [one.id, one.kind.into(), one.open.into(), one.key_version.into(), one.head]);
    });
    let members = || {
        only!(rows, Conversation).flat_map(|one| one.members.iter().map(|member| (one.id, member)))
    };
    script.insert(MEMBER, members(), |text, (id, member): (_, &dump::Member)| {
        let dump::Member { user, delivered, read, joined_at_seq } = *member;
        numbers(text, [id, user, delivered, read, joined_at_seq]);
    });
    script.insert(MEMBER_USER, members(), |text, (id, member)| numbers(text, [member.user, id]));
}

fn logs(script: &mut Script, rows: &[Row]) -> Result<()> {
    let mut messages = Vec::new();
    for one in only!(rows, Message) {
        let head = message_of(&one.entry).ok_or_else(|| {
            let (conversation, conv_seq) = (one.conversation, one.conv_seq);
            let what = format!("message {conv_seq} of conversation {conversation} is no message");
            Error::from(Failure::corrupt(what))
        })?;
        messages.push((one, head));
    }
    script.insert(MESSAGE, messages, |text, (one, head)| {
        numbers(text, [one.conversation, one.conv_seq, head.sender, head.created_at_ms]);
        blob(text, &one.entry);
    });
    script.insert(INBOX, only!(rows, Entry), |text, one| {
        numbers(text, [one.user, one.seq]);
        blob(text, &one.entry);
    });
    Ok(())
}

fn rest(script: &mut Script, rows: &[Row]) {
    script.insert(ONCE, only!(rows, Once), |text, once| {
        numbers(text, [once.used_at_ms]);
        blob(text, &once.key);
    });
    script.insert(FILE, only!(rows, File), |text, file| {
        let dump::File { id, owner, conversation, size, state, .. } = *file;
        numbers(text, [id, owner, conversation, size, state.into()]);
        text.push(',');
        numbers(text, [file.created_at_ms, file.updated_at_ms]);
    });
}

/// Bytes behind other values.
fn blob(text: &mut String, value: &[u8]) {
    text.push(',');
    bytes(text, value);
}

/// Texts behind other values.
fn strings<const N: usize>(text: &mut String, values: [&String; N]) {
    for value in values {
        text.push_str(",_utf8mb4 ");
        bytes(text, value.as_bytes());
    }
}

const USER: (&str, &str) = (
    "INSERT INTO im_user (user, name, display_name, password_hash, state, `system`, created_at_ms) \
     VALUES ",
    "",
);
const USER_NAME: (&str, &str) = ("INSERT INTO im_user_name (user, name) VALUES ", "");
const INBOX_HEAD: (&str, &str) = ("INSERT INTO im_inbox_head (user, head, floor) VALUES ", "");
const INVITE: (&str, &str) =
    ("INSERT INTO im_invite (created_at_ms, used_by, code_hash) VALUES ", "");
const DEVICE: (&str, &str) = (
    "INSERT INTO im_device (user, device, outbox_position, inbox_position, seen_at_ms, digests, \
     session, session_over) VALUES ",
    "",
);
const DEVICE_SESSION: (&str, &str) =
    ("INSERT INTO im_device_session (user, device, created_at_ms, name, token_hash) VALUES ", "");
const TOKEN: (&str, &str) = ("INSERT INTO im_token (user, device, token_hash) VALUES ", "");
const RELATION: (&str, &str) = (
    "INSERT INTO im_relation (relation, low, high, friends, low_asks, high_asks, low_blocks, \
     high_blocks) VALUES ",
    "",
);
const RELATION_KEY: (&str, &str) =
    ("INSERT INTO im_relation_key (relation, version, wrapped_key) VALUES ", "");
const RELATION_PEER: (&str, &str) =
    ("INSERT INTO im_relation_peer (user, peer, relation, seen) VALUES ", "");
const CONVERSATION: (&str, &str) =
    ("INSERT INTO im_conversation (conversation, kind, is_open, key_version, head) VALUES ", "");
const MEMBER: (&str, &str) = (
    "INSERT INTO im_member (conversation, user, delivered_seq, read_seq, joined_at_seq) VALUES ",
    "",
);
const MEMBER_USER: (&str, &str) = ("INSERT INTO im_member_user (user, conversation) VALUES ", "");
const MESSAGE: (&str, &str) =
    ("INSERT INTO im_message (conversation, conv_seq, sender, created_at_ms, entry) VALUES ", "");
const INBOX: (&str, &str) = ("INSERT INTO im_inbox (user, seq, entry) VALUES ", "");
const ONCE: (&str, &str) = ("INSERT INTO im_once (used_at_ms, once_key) VALUES ", "");
const FILE: (&str, &str) = (
    "INSERT INTO im_file (file, owner, conversation, size, state, created_at_ms, updated_at_ms) \
     VALUES ",
    "",
);
/// Enough to make the cost of a batch small; a conversation brings its members with it.
const ROWS_PER_BATCH: usize = 1000;
/// About a packet, as hexadecimal digits.
const BYTES_PER_BATCH: usize = 2 << 20;
