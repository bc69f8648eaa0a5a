//! All rows of a database, table by table and page by page, as the rows of a dump.

use std::io::Write;

use sqlx::FromRow;
use sqlx::mysql::MySqlRow;

use crate::dump::{self, Header, Result, Row, Writer};
use crate::mysql::failure::Failure;
use crate::mysql::open::{self, META_KEY_CHECK};
use crate::mysql::script::{bytes, list};
use crate::mysql::tx::Tx;

/// Writes all but the end of a dump.
pub(super) async fn rows_of<'w>(
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
