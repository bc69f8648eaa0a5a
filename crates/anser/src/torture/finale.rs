//! After the last fault: every client drains, then everybody is asked what they hold, and at the
//! very end the database itself.

use std::time::Duration;

use anser_client::{
    Client, Message, Range, RelationState,
    proto::{ConversationId, Seq, UserId},
};
use anser_store::{InboxPage, PageLimit, Store, StoreError};
use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    client::Slot,
    files,
    history::{Marks, Recorder, Row, What},
    words,
};

/// Clients that need longer than this have lost something, or wait for something that never comes.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Messages of a page, the server's default maximum.
const PAGE: u32 = 200;
/// Rows of an inbox that are read at once.
const ROWS: PageLimit = PageLimit { entries: 1_000, bytes: 16 << 20 };
const ONE_ROW: PageLimit = PageLimit { entries: 1, bytes: 1 };

/// Waits until every client is online, has no command left, and holds its inbox to the end. Notes
/// and gives those that do; the others are missing from the history, which the checker notices.
pub(super) async fn drain(mut slots: Vec<Slot>, recorder: &Recorder) -> Vec<Slot> {
    let until = Instant::now() + DRAIN_MAX;
    for slot in &mut slots {
        if slot.has_ended() {
            slot.close().await;
        }
        if let Ok(Err(error)) = timeout_at(until, slot.open()).await {
            println!("client {} can not go on: {error:#}", slot.id);
        }
    }
    let mut before = Vec::new();
    while Instant::now() < until {
        let drained = look(&slots).await;
        // What a client still did may have made entries for others: twice the same is the end.
        if drained.iter().all(Option::is_some) && drained == before {
            break;
        }
        before = drained;
        sleep(LOOK).await;
    }
    let mut drained = Vec::new();
    for slot in slots {
        match (position(&slot).await, slot.mirror.identity()) {
            (Some(_), Some((user, device))) => {
                recorder.note(What::Drained { client: slot.id, device, user });
                drained.push(slot);
            }
            _ => println!("client {} did not drain", slot.id),
        }
    }
    drained
}

/// How far each client is, for those that are where their inbox ends.
async fn look(slots: &[Slot]) -> Vec<Option<(String, Seq)>> {
    let mut positions = Vec::with_capacity(slots.len());
    for slot in slots {
        positions.push(position(slot).await);
    }
    positions
}

async fn position(slot: &Slot) -> Option<(String, Seq)> {
    let client = slot.sdk()?;
    let waits = !client.waiting().is_empty() || !client.uploads().is_empty();
    if client.outbox_len() > 0 || waits {
        return None;
    }
    if !client.state().borrow().device_online {
        return None;
    }
    let snapshot = client.rest().snapshot().await.ok()?;
    let stored = slot.mirror.position();
    (stored == (snapshot.epoch, snapshot.head)).then_some(stored)
}

/// Notes what every client holds, and what every user is told.
///
/// # Errors
/// The server does not answer.
pub(super) async fn views(slots: &[Slot], recorder: &Recorder) -> Result<()> {
    let mut asked: Vec<UserId> = Vec::new();
    for slot in slots {
        let client = slot.online()?;
        for relation in client.relations() {
            if relation.state == RelationState::Unspecified {
                continue;
            }
            local(slot.id, client, relation.id, recorder)?;
        }
        if !asked.contains(&client.user()) {
            asked.push(client.user());
            told(slot.id, client, recorder).await?;
        }
    }
    Ok(())
}

fn local(id: usize, client: &Client, of: ConversationId, recorder: &Recorder) -> Result<()> {
    let marks = client.watermarks(of);
    let marks = Marks {
        head: marks.head,
        read: marks.read,
        peer_delivered: marks.peer_delivered,
        peer_read: marks.peer_read,
    };
    recorder.note(What::Marks { client: id, conversation: of.0, marks });
    let held = client.messages(of, None, usize::MAX)?;
    let messages = held.iter().map(words::message).collect();
    recorder.note(What::Local { client: id, conversation: of.0, messages });
    Ok(())
}

/// What the server tells a user, and each file that it has for them.
async fn told(id: usize, client: &Client, recorder: &Recorder) -> Result<()> {
    let user = client.user().0;
    let snapshot = client.rest().snapshot().await?;
    let state = words::state(&snapshot);
    for conversation in &snapshot.conversations {
        let found = history(client, conversation.id).await?;
        let messages = found.iter().map(words::message).collect();
        recorder.note(What::Final { user, conversation: conversation.id.0, messages });
        for message in &found {
            files::fetch(id, client, message, recorder).await;
        }
    }
    let (epoch, head) = (snapshot.epoch, snapshot.head);
    recorder.note(What::FinalState { user, epoch, head, state });
    Ok(())
}

async fn history(client: &Client, conversation: ConversationId) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    let mut after = 0;
    loop {
        let page = client.history(conversation, Range::After(after), PAGE).await?;
        let last = page.messages.last().map_or(after, |last| last.conv_seq);
        messages.extend(page.messages);
        if !page.more_after {
            return Ok(messages);
        }
        if last <= after {
            bail!("conversation {conversation}: the page after {after} does not go on");
        }
        after = last;
    }
}

/// Notes every inbox as it is in the store. No server may run.
///
/// # Errors
/// The store can not be read.
pub(super) async fn audit(store: &dyn Store, recorder: &Recorder) -> Result<()> {
    let mut last = None;
    loop {
        let users = store.users(last, 1_000).await?;
        let Some(newest) = users.last() else { break };
        last = Some(newest.id);
        for user in &users {
            recorder.note(inbox(store, user.id).await?);
        }
    }
    store.close().await?;
    Ok(())
}

async fn inbox(store: &dyn Store, user: UserId) -> Result<What> {
    let floor = match store.read_inbox(user, 0, ROWS).await {
        Ok(InboxPage::BelowFloor { floor }) => floor,
        _ => 1,
    };
    let mut rows: Vec<(Seq, Row)> = Vec::new();
    let mut after = floor - 1;
    let head = store.snapshot(user).await?.head;
    while after < head {
        let page = match store.read_inbox(user, after, ROWS).await {
            // A hole somewhere in it: row by row, so that what is around it is seen.
            Err(StoreError::Corrupt(_)) => store.read_inbox(user, after, ONE_ROW).await,
            page => page,
        };
        match page {
            Ok(InboxPage::Entries { entries, .. }) if !entries.is_empty() => {
                rows.extend(entries.iter().map(|row| (row.seq, words::row(&row.entry))));
                after = rows.last().map_or(after, |(seq, _)| *seq);
            }
            Ok(_) | Err(StoreError::Corrupt(_)) => after += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(What::Audit { user: user.0, floor, head, rows })
}
