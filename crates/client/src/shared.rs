//! What the handles and the task of one client share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anser_proto::{ConversationId, Seq, seal::Place, wire};
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{Notify, watch};

use crate::{
    error::{Error, ErrorKind, Result},
    event::{ConnectionState, Content, Event, Queue},
    model::{Model, Outcome},
    outbox::Item,
    rest::{Authorized, Rest},
    storage::{Change, Storage},
};

/// What the handles and the task share.
pub(crate) struct Shared {
    pub(crate) local: Mutex<Local>,
    pub(crate) events: Arc<Queue>,
    pub(crate) state: watch::Sender<ConnectionState>,
    /// Something for the task: a command, or the wish to close.
    pub(crate) work: Notify,
    /// Something for the part of the task that uploads.
    pub(crate) uploads: Notify,
    pub(crate) closed: watch::Sender<bool>,
    pub(crate) rest: Rest,
    pub(crate) outbox_max: usize,
    closing: AtomicBool,
}

/// The model and where it is stored, changed together.
pub(crate) struct Local {
    pub(crate) model: Model,
    pub(crate) storage: Box<dyn Storage>,
    /// The task has ended: nothing more is put into the outbox.
    pub(crate) ended: bool,
}

impl Shared {
    pub(crate) fn new(
        model: Model,
        storage: Box<dyn Storage>,
        events: Arc<Queue>,
        rest: Rest,
        outbox_max: usize,
    ) -> Self {
        Self {
            local: Mutex::new(Local { model, storage, ended: false }),
            events,
            state: watch::Sender::new(ConnectionState::default()),
            work: Notify::new(),
            uploads: Notify::new(),
            closed: watch::Sender::new(false),
            rest,
            outbox_max,
            closing: AtomicBool::new(false),
        }
    }

    /// Asks the task to end.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.work.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// For the task, which alone waits for `work`: ends when it is asked to end.
    pub(crate) async fn closing(&self) {
        while !self.is_closing() {
            self.work.notified().await;
        }
    }

    /// The task ends: nobody may wait for its work any more.
    pub(crate) fn end(&self, last: Option<Event>) {
        let mut local = self.local.lock();
        local.ended = true;
        local.model.end_handles();
        drop(local);
        self.events.close(last);
    }

    /// The REST calls of this session.
    pub(crate) fn authorized(&self) -> Authorized {
        let local = self.local.lock();
        let identity = local.model.identity.as_ref();
        let token = identity.map(|identity| identity.token.clone()).unwrap_or_default();
        self.rest.with_token(token)
    }

    pub(crate) fn set_state(&self, state: ConnectionState) {
        let changed = self.state.send_if_modified(|known| {
            let changed = *known != state;
            *known = state;
            changed
        });
        if changed {
            self.events.push([Event::State(state)]);
        }
    }

    /// Stores what an outcome asks for, then tells it. Leaves the outcome empty.
    pub(crate) fn settle(&self, local: &mut Local, outcome: &mut Outcome) -> Result<()> {
        outcome.finish(&local.model);
        if !outcome.changes.is_empty() {
            let stored = local.storage.apply(&outcome.changes);
            outcome.changes.clear();
            stored?;
        }
        if !outcome.events.is_empty() {
            self.events.push(outcome.events.drain(..));
        }
        if std::mem::take(&mut outcome.wakes_uploads) {
            self.uploads.notify_one();
        }
        Ok(())
    }
}

impl Local {
    /// Stores the next command, then puts it into the outbox.
    pub(crate) fn enqueue(&mut self, item: Item) -> Result<()> {
        self.enqueue_with(item, &[])
    }

    /// Like `enqueue`, with other changes in the same transaction.
    pub(crate) fn enqueue_with(&mut self, item: Item, others: &[Change]) -> Result<()> {
        let client_seq = self.model.outbox.head() + 1;
        let command = item.command.clone();
        let enqueue = [Change::Enqueue { client_seq, command }];
        self.storage.apply(&[&enqueue, others].concat())?;
        self.model.outbox.push(item);
        Ok(())
    }
}

/// Seals a message as this device's command `client_seq`.
pub(crate) fn seal(
    model: &Model,
    conversation: ConversationId,
    client_seq: Seq,
    content: &Content,
) -> Result<Bytes> {
    let (key_version, key) = model.newest_key(conversation).ok_or_else(|| {
        Error::new(ErrorKind::NotFriends, "there is no key for this conversation yet")
    })?;
    let (kind, files) = match content {
        Content::Text(text) => {
            (wire::content::Kind::Text(wire::Text { text: text.clone() }), Vec::new())
        }
        Content::File(file) => (wire::content::Kind::File(file.to_wire()), vec![file.id.0]),
        Content::Unknown | Content::Unreadable(_) => {
            return Err(Error::new(ErrorKind::Protocol, "what was not understood is not sent"));
        }
    };
    let content = wire::Content { kind: Some(kind) };
    let (bytes, max) = (content.encoded_len(), model.text_bytes_max());
    if bytes > max {
        let detail = format!("the message takes {bytes} bytes, at most {max} are allowed");
        return Err(Error::new(ErrorKind::TooLong, detail));
    }
    let (sender, device) = (model.user(), model.device());
    let place = Place { conversation, sender, device, client_seq, key_version };
    let send = wire::Send { conversation: conversation.0, key_version, files };
    let kind = wire::command::Kind::Send(send);
    let body = key.seal(&place, &content.encode_to_vec()).into();
    Ok(wire::Command { kind: Some(kind), body }.encode_to_vec().into())
}
