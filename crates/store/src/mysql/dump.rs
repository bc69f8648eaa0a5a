//! Everything out of a database and into one, as the rows of a [dump](crate::dump).
//!
//! Servers may not use the database meanwhile, and are looked for. That look may miss one, so it
//! is not what is relied on: an export holds the row of the epoch, without which no process
//! writes (see `tx.rs`), reads what is there, and takes that row away when it ends. What a server
//! wanted to write meanwhile waits and fails, and stays in its clients.

mod load;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use sqlx::FromRow;
use sqlx::mysql::MySqlRow;

use super::Options;
use super::failure::{Failure, Tries};
use super::open::{
    self, Found, META_EPOCH, META_EXPORTED, META_IMPORTING, META_KEY_CHECK, OpenError,
};
use super::pool::Pool;
use super::script::{bytes, list};
use super::tx::Tx;
use crate::StoreError;
use crate::dump::{self, Error, Header, Reader, Result, Row, Summary, Writer};
use load::Loader;

/// See [`dump::Place::export`].
pub(crate) async fn export(options: &Options, to: &mut (dyn Write + Send)) -> Result<Summary> {
    let (mut tx, found) = alone(options).await?;
    let epoch = match found {
        Some(Found::Serves(epoch)) => {
            // The snapshot is taken by the first read that locks nothing, and that follows this.
            let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION; \
                         SELECT value FROM im_meta WHERE name = 'epoch' FOR UPDATE";
            tx.script(begin.to_owned()).await?;
            epoch
        }
        // Fenced already, so nothing changes.
        Some(Found::Exported(epoch)) => epoch,
        other => return Err(unusable(other)),
    };
    let writer = rows_of(&mut tx, epoch.clone(), to).await?;
    let fence = [drop_meta(META_EPOCH), put_meta(META_EXPORTED, epoch.as_bytes())];
    tx.script(format!("{}; COMMIT", fence.join(";"))).await?;
    writer.end()
}

/// See [`dump::Place::import`].
pub(crate) async fn import(options: &Options, from: &mut (dyn Read + Send)) -> Result<Summary> {
    let mut reader = Reader::begin(from)?;
    let header = reader.header().clone();
    let (mut tx, found) = alone(options).await?;
    match found {
        // One that was started before it was filled.
        None | Some(Found::Serves(_)) => {}
        other @ Some(Found::Unfinished | Found::Newer(_)) => return Err(unusable(other)),
        Some(Found::Exported(_)) => return Err(not_empty()),
    }
    let look: Vec<_> =
        TABLES.iter().map(|table| format!("SELECT 1 FROM {table} LIMIT 1")).collect();
    if tx.script(look.join(";")).await?.iter().any(|rows| !rows.is_empty()) {
        return Err(not_empty());
    }
    let begin = [META_EPOCH, META_KEY_CHECK].map(drop_meta).join(";");
    let importing = put_meta(META_IMPORTING, b"1");
    tx.script(format!("START TRANSACTION; {begin}; {importing}; COMMIT")).await?;

    let summary = Loader::new(&mut tx).load(&mut reader).await?;
    if let Some(check) = &header.key_check {
        tx.script(put_meta(META_KEY_CHECK, check)).await?;
    }
    let read_back = rows_of(&mut tx, header.epoch.clone(), &mut io::sink()).await?.end()?;
    summary.matches(&read_back)?;
    // What was written before is on the disk when this is.
    let end = [drop_meta(META_IMPORTING), put_meta(META_EPOCH, header.epoch.as_bytes())].join(";");
    tx.script(format!("START TRANSACTION; {end}; COMMIT")).await?;
    Ok(summary)
}

/// See [`dump::Place::new_epoch`].
pub(crate) async fn new_epoch(options: &Options) -> Result<String> {
    let (mut tx, found) = alone(options).await?;
    let Some(Found::Serves(_) | Found::Exported(_)) = found else { return Err(unusable(found)) };
    let epoch = open::new_epoch();
    let changes =
        [drop_meta(META_EXPORTED), drop_meta(META_EPOCH), put_meta(META_EPOCH, epoch.as_bytes())];
    tx.script(format!("START TRANSACTION; {}; COMMIT", changes.join(";"))).await?;
    Ok(epoch)
}

/// A connection that keeps all who open the database out, and what is there.
async fn alone(options: &Options) -> Result<(Tx, Option<Found>)> {
    let connect = open::connect_options(options)?;
    let pool = std::sync::Arc::new(Pool::new(connect, 1, options.weak_durability));
    let mut tries = Tries::new(options.patience, None);
    let mut tx = loop {
        if let Some(end) = tries.end(open::lock(&pool)).await {
            break end?;
        }
    };
    let found = open::prepare(&mut tx).await?;
    let until = Instant::now() + options.patience;
    loop {
        let others = "SELECT CAST(COUNT(*) AS UNSIGNED) FROM information_schema.PROCESSLIST \
                      WHERE DB = DATABASE() AND ID <> CONNECTION_ID()";
        let others = tx.select::<(u64,)>(others.to_owned()).await?.pop().map_or(0, |one| one.0);
        if others == 0 {
            return Ok((tx, found));
        }
        // A server that has just stopped is no longer there in a moment.
        if Instant::now() >= until {
            return Err(Error::InUse(others));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn unusable(found: Option<Found>) -> Error {
    match found {
        None => Error::NoStore("the database".into()),
        Some(Found::Newer(found)) => OpenError::NewerSchema { found }.into(),
        Some(Found::Unfinished) => OpenError::Unfinished.into(),
        Some(Found::Exported(_) | Found::Serves(_)) => OpenError::Exported.into(),
    }
}

fn not_empty() -> Error {
    Error::NotEmpty("the database".into())
}

fn drop_meta(name: &str) -> String {
    format!("DELETE FROM im_meta WHERE name = '{name}'")
}

fn put_meta(name: &str, value: &[u8]) -> String {
    let mut text = format!("REPLACE INTO im_meta (name, value) VALUES ('{name}', ");
    bytes(&mut text, value);
    text + ")"
}

/// Writes all but the end of a dump.
async fn rows_of<'w>(
    tx: &mut Tx,
    epoch: String,
    to: &'w mut (dyn Write + Send),
) -> Result<Writer<'w>> {
    let key_check = open::meta(tx, META_KEY_CHECK).await?;
    let mut writer = Writer::begin(to, Header { epoch, key_check })?;
    let mut put = |row: Row| writer.row(row);
    each(
        tx,
        USERS,
        |row: &UserRow| format!("u.user > {}", row.0),
        |row| put(Row::User(user(row)?)),
    )
    .await?;
    each(
        tx,
        INVITES,
        |row: &(Vec<u8>, u64, u64)| above("code_hash", &row.0),
        |row| {
            let (code_hash, created_at_ms, used_by) = row;
            put(Row::Invite(dump::Invite { code_hash, created_at_ms, used_by }))
        },
    )
    .await?;
    check_devices(tx).await?;
    let after = |row: &DeviceRow| behind(["s.user", "s.device"], [row.0, row.1]);
    each(tx, DEVICES, after, |row| put(Row::Device(device(row)?))).await?;
    relations(tx, &mut put).await?;
    conversations(tx, &mut put).await?;
    let after = |row: &LogRow| behind(["conversation", "conv_seq"], [row.0, row.1]);
    each(tx, MESSAGES, after, |(conversation, conv_seq, entry)| {
        put(Row::Message(dump::Message { conversation, conv_seq, entry: entry.into() }))
    })
    .await?;
    let after = |row: &LogRow| behind(["user", "seq"], [row.0, row.1]);
    each(tx, INBOXES, after, |(user, seq, entry)| {
        put(Row::Entry(dump::Entry { user, seq, entry: entry.into() }))
    })
    .await?;
    each(
        tx,
        ONCE,
        |row: &(Vec<u8>, u64)| above("once_key", &row.0),
        |(key, used_at_ms)| put(Row::Once(dump::Once { key, used_at_ms })),
    )
    .await?;
    each(tx, FILES, |row: &FileRow| format!("file > {}", row.0), |row| put(Row::File(file(row))))
        .await?;
    Ok(writer)
}

/// What is selected, from where, and by which keys it rises.
type Table = (&'static str, &'static str);

/// All rows of a table, page by page. `after` is true of the rows behind one.
async fn each<T>(
    tx: &mut Tx,
    table: Table,
    after: impl Fn(&T) -> String,
    mut put: impl FnMut(T) -> Result<()>,
) -> Result<()>
where
    T: for<'r> FromRow<'r, MySqlRow>,
{
    let mut place = "TRUE".to_owned();
    loop {
        let rows: Vec<T> = page(tx, table, &place).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        place = after(last);
        rows.into_iter().try_for_each(&mut put)?;
    }
}

async fn page<T>(tx: &mut Tx, (select, keys): Table, place: &str) -> Result<Vec<T>, Failure>
where
    T: for<'r> FromRow<'r, MySqlRow>,
{
    let limit = ROWS_PER_PAGE;
    tx.select(format!("SELECT {select} WHERE {place} ORDER BY {keys} LIMIT {limit}")).await
}

fn behind(keys: [&str; 2], [first, second]: [u64; 2]) -> String {
    let [one, two] = keys;
    format!("({one} > {first} OR ({one} = {first} AND {two} > {second}))")
}

fn above(key: &str, value: &[u8]) -> String {
    let mut text = format!("{key} > ");
    bytes(&mut text, value);
    text
}

fn user(row: UserRow) -> Result<dump::User, Failure> {
    let (id, name, display_name, password_hash, state, system, created_at_ms, head, floor) = row;
    let (Some(inbox_head), Some(inbox_floor)) = (head, floor) else {
        return Err(Failure::corrupt(format!("user {id} has no inbox")));
    };
    Ok(dump::User {
        id,
        name,
        display_name,
        password_hash,
        state: state.into(),
        system: system != 0,
        created_at_ms,
        inbox_head,
        inbox_floor,
    })
}

/// A device is in three tables.
async fn check_devices(tx: &mut Tx) -> Result<(), Failure> {
    let counts = "SELECT CAST((SELECT COUNT(*) FROM im_device_session) AS UNSIGNED), \
                  CAST((SELECT COUNT(*) FROM im_device) AS UNSIGNED), \
                  CAST((SELECT COUNT(*) FROM im_token) AS UNSIGNED)";
    let counts: Option<(u64, u64, u64)> = tx.select(counts.to_owned()).await?.pop();
    match counts {
        Some((sessions, devices, tokens)) if sessions != devices || sessions != tokens => {
            let what =
                format!("{sessions} devices, but {devices} rows and {tokens} tokens of them");
            Err(Failure::corrupt(what))
        }
        _ => Ok(()),
    }
}

fn device(row: DeviceRow) -> Result<dump::Device, Failure> {
    let (user, id, name, token_hash, created_at_ms, outbox, inbox, seen, digests, token) = row;
    let corrupt = |what: &str| Failure::corrupt(format!("device {id}: {what}"));
    let (Some(outbox_position), Some(inbox_position), Some(seen_at_ms), Some(digests)) =
        (outbox, inbox, seen, digests)
    else {
        return Err(corrupt("it has no row"));
    };
    if token != Some(id) {
        return Err(corrupt("it has no token"));
    }
    let (digests, []) = digests.as_chunks::<8>() else {
        return Err(corrupt("its digests are cut off"));
    };
    Ok(dump::Device {
        user,
        id,
        outbox_position,
        inbox_position,
        seen_at_ms,
        digests: digests.iter().map(|digest| u64::from_be_bytes(*digest)).collect(),
        name,
        token_hash,
        created_at_ms,
    })
}

/// Relations, and the keys of a page of them.
async fn relations(tx: &mut Tx, put: &mut impl FnMut(Row) -> Result<()>) -> Result<()> {
    let mut place = "TRUE".to_owned();
    loop {
        let rows: Vec<RelationRow> = page(tx, RELATIONS, &place).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        place = format!("relation > {}", last.0);
        let ids = list(rows.iter().map(|row| row.0));
        let keys = format!(
            "SELECT relation, version, wrapped_key FROM im_relation_key \
             WHERE relation IN ({ids}) ORDER BY relation, version"
        );
        let keys: Vec<(u64, u32, Vec<u8>)> = tx.select(keys).await?;
        let mut keys = keys.into_iter().peekable();
        for row in rows {
            let id = row.0;
            let mut wrapped_keys = Vec::new();
            while let Some((_, version, key)) = keys.next_if(|key| key.0 == id) {
                wrapped_keys.push(key);
                if usize::try_from(version) != Ok(wrapped_keys.len()) {
                    let what =
                        format!("relation {id}: the key before version {version} is missing");
                    return Err(Failure::corrupt(what).into());
                }
            }
            put(Row::Relation(relation(row, wrapped_keys)))?;
        }
    }
}

fn relation(row: RelationRow, wrapped_keys: Vec<Vec<u8>>) -> dump::Relation {
    let flags = [row.3, row.4, row.5, row.6, row.7].map(|flag| flag != 0);
    let [friends, low_asks, high_asks, low_blocks, high_blocks] = flags;
    dump::Relation {
        id: row.0,
        low: row.1,
        high: row.2,
        friends,
        low_asks,
        high_asks,
        low_blocks,
        high_blocks,
        wrapped_keys,
    }
}

/// Conversations, and the members of a page of them.
async fn conversations(tx: &mut Tx, put: &mut impl FnMut(Row) -> Result<()>) -> Result<()> {
    let mut place = "TRUE".to_owned();
    loop {
        let rows: Vec<(u64, u8, u8, u32, u64)> = page(tx, CONVERSATIONS, &place).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        place = format!("conversation > {}", last.0);
        let ids = list(rows.iter().map(|row| row.0));
        let members = format!(
            "SELECT conversation, user, delivered_seq, read_seq, joined_at_seq FROM im_member \
             WHERE conversation IN ({ids}) ORDER BY conversation, user"
        );
        let members: Vec<(u64, u64, u64, u64, u64)> = tx.select(members).await?;
        let mut members = members.into_iter().peekable();
        for (id, kind, is_open, key_version, head) in rows {
            let own = std::iter::from_fn(|| members.next_if(|member| member.0 == id));
            let member = |(_, user, delivered, read, joined_at_seq)| dump::Member {
                user,
                delivered,
                read,
                joined_at_seq,
            };
            put(Row::Conversation(dump::Conversation {
                id,
                kind: kind.into(),
                open: is_open != 0,
                key_version,
                head,
                members: own.map(member).collect(),
            }))?;
        }
    }
}

fn file(row: FileRow) -> dump::File {
    let (id, owner, conversation, size, state, created_at_ms, updated_at_ms) = row;
    let state = state.into();
    dump::File { id, owner, conversation, size, state, created_at_ms, updated_at_ms }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Store(match failure {
            Failure::Again(why) => StoreError::Unavailable(why),
            Failure::Duplicate(why) => StoreError::Corrupt(why),
            Failure::Store(error) => error,
        })
    }
}

/// All tables that hold data.
const TABLES: [&str; 17] = [
    "im_user",
    "im_user_name",
    "im_invite",
    "im_device",
    "im_device_session",
    "im_token",
    "im_relation",
    "im_relation_key",
    "im_relation_peer",
    "im_conversation",
    "im_member",
    "im_member_user",
    "im_message",
    "im_inbox_head",
    "im_inbox",
    "im_once",
    "im_file",
];

type UserRow = (u64, String, String, Option<String>, u8, u8, u64, Option<u64>, Option<u64>);
const USERS: Table = (
    "u.user, u.name, u.display_name, u.password_hash, u.state, u.system, u.created_at_ms, h.head, \
     h.floor FROM im_user u LEFT JOIN im_inbox_head h ON h.user = u.user",
    "u.user",
);
const INVITES: Table = ("code_hash, created_at_ms, used_by FROM im_invite", "code_hash");
type DeviceRow = (
    u64,
    u64,
    String,
    Vec<u8>,
    u64,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<Vec<u8>>,
    Option<u64>,
);
const DEVICES: Table = (
    "s.user, s.device, s.name, s.token_hash, s.created_at_ms, d.outbox_position, \
     d.inbox_position, d.seen_at_ms, d.digests, t.device FROM im_device_session s \
     LEFT JOIN im_device d ON d.user = s.user AND d.device = s.device \
     LEFT JOIN im_token t ON t.token_hash = s.token_hash",
    "s.user, s.device",
);
type RelationRow = (u64, u64, u64, u8, u8, u8, u8, u8);
const RELATIONS: Table = (
    "relation, low, high, friends, low_asks, high_asks, low_blocks, high_blocks FROM im_relation",
    "relation",
);
const CONVERSATIONS: Table =
    ("conversation, kind, is_open, key_version, head FROM im_conversation", "conversation");
type LogRow = (u64, u64, Vec<u8>);
const MESSAGES: Table = (
    "conversation, conv_seq, entry FROM im_message FORCE INDEX (PRIMARY)",
    "conversation, conv_seq",
);
const INBOXES: Table = ("user, seq, entry FROM im_inbox FORCE INDEX (PRIMARY)", "user, seq");
const ONCE: Table = ("once_key, used_at_ms FROM im_once", "once_key");
type FileRow = (u64, u64, u64, u64, u8, u64, u64);
const FILES: Table = (
    "file, owner, conversation, size, state, created_at_ms, updated_at_ms FROM im_file \
     FORCE INDEX (PRIMARY)",
    "file",
);
/// At 17 KiB a row this is 9 MiB.
const ROWS_PER_PAGE: usize = 500;
const LOOK_AGAIN: Duration = Duration::from_millis(100);
