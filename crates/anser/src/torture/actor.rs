//! Plays the acts of one client, and what the fault lane asks of it in between.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anser_client::{
    Client, Content, Error, ErrorKind, Message, Outgoing, Range, Relation, RelationAction,
    RelationState,
    proto::{Code, ConversationId, UserId},
};
use anyhow::Result;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    client::Slot,
    files,
    history::{Action, OpId, Recorder, What},
    plan::{Act, Acts, Deed},
    run::given,
    words,
};

/// A client whose outbox is so full waits: a person would, too.
const OUTBOX_MAX: usize = 200;
/// The same for files: one goes out after another.
const UPLOADS_MAX: usize = 5;
/// Messages of a page that is read for its own sake.
const PAGE: u32 = 50;

/// What the fault lane wants of a client.
pub(super) enum Order {
    /// Be wiped.
    Wipe(oneshot::Sender<()>),
    /// Make a copy of the storage.
    Copy(oneshot::Sender<()>),
    /// Go on from that copy.
    BecomeCopy(oneshot::Sender<()>),
}

/// What the actors share.
pub(super) struct Troupe {
    pub(super) recorder: Recorder,
    ops: AtomicU64,
    /// The users' ids, in the order of the plan.
    users: Vec<UserId>,
    /// Pairs whose relation comes and goes; the others stay friends.
    fickle: Vec<[usize; 2]>,
    /// All conversations that anybody has.
    conversations: Mutex<Vec<ConversationId>>,
    /// A file message that somebody fetched last, for those who are not to get it.
    fetched: Mutex<Option<Message>>,
}

impl Troupe {
    pub(super) fn new(recorder: Recorder, users: Vec<UserId>, fickle: Vec<[usize; 2]>) -> Self {
        let (ops, conversations) = (AtomicU64::new(0), Mutex::default());
        Self { recorder, ops, users, fickle, conversations, fetched: Mutex::default() }
    }

    fn op(&self) -> OpId {
        self.ops.fetch_add(1, Relaxed)
    }

    /// A user asks for a relation, or accepts one.
    ///
    /// # Errors
    /// The server refuses or can not be reached.
    pub(super) async fn befriend(&self, slot: &Slot, peer: usize) -> Result<Relation> {
        let peer = self.users[peer];
        Ok(self.relate(slot, slot.online()?, peer, Action::Befriend).await?)
    }

    async fn relate(
        &self,
        slot: &Slot,
        client: &Client,
        peer: UserId,
        action: Action,
    ) -> anser_client::Result<Relation> {
        let (op, user) = (self.op(), client.user().0);
        self.recorder.note(What::Relate { op, client: slot.id, user, peer: peer.0, action });
        let changed = match action {
            Action::Befriend => client.befriend(peer).await,
            Action::Remove => client.change_relation(peer, RelationAction::Remove).await,
            Action::Block => client.change_relation(peer, RelationAction::Block).await,
            Action::Unblock => client.change_relation(peer, RelationAction::Unblock).await,
        };
        self.recorder.note(match &changed {
            Ok(_) => What::Done { op },
            Err(error) => failed(op, error),
        });
        if let Ok(relation) = &changed {
            let mut conversations = self.conversations.lock();
            if !conversations.contains(&relation.id) {
                conversations.push(relation.id);
            }
        }
        changed
    }
}

/// Whether an error says that nothing happened.
fn failed(op: OpId, error: &Error) -> What {
    match error.kind() {
        ErrorKind::Refused(code) if !code.retryable() && code != Code::Unauthenticated => {
            What::Refused { op, code: code.name().to_owned() }
        }
        // These say no before anything leaves the device.
        kind @ (ErrorKind::NotFriends | ErrorKind::OutboxFull | ErrorKind::TooLong) => {
            What::Refused { op, code: format!("{kind:?}") }
        }
        ErrorKind::Closed => What::Refused { op, code: "closed".to_owned() },
        _ => What::Unclear { op },
    }
}

/// Plays until `curtain` falls; gives the client back, as it was left.
///
/// # Errors
/// The client can not go on, which no fault may cause.
pub(super) async fn play(
    mut slot: Slot,
    mut acts: Acts,
    troupe: Arc<Troupe>,
    mut orders: mpsc::Receiver<Order>,
    mut curtain: watch::Receiver<bool>,
) -> Result<Slot> {
    loop {
        let act = acts.next();
        tokio::select! {
            biased;
            () = given(&mut curtain) => return Ok(slot),
            Some(order) = orders.recv() => obey(&mut slot, order).await?,
            () = tokio::time::sleep(act.think) => {}
        }
        if slot.has_ended() {
            // The server told it to end, as it does to the older of two connections.
            slot.close().await;
        }
        if let Deed::Leave { away } = act.what {
            let client = slot.id;
            troupe.recorder.note(What::Left { client });
            slot.close().await;
            tokio::select! {
                () = tokio::time::sleep(away) => {}
                () = given(&mut curtain) => {}
            }
            troupe.recorder.note(What::Back { client });
        }
        tokio::select! {
            opened = slot.open() => opened?,
            () = given(&mut curtain) => return Ok(slot),
        }
        tokio::select! {
            () = perform(&slot, &act, &troupe) => {}
            () = given(&mut curtain) => return Ok(slot),
        }
    }
}

async fn obey(slot: &mut Slot, order: Order) -> Result<()> {
    let done = match order {
        Order::Wipe(done) => {
            slot.wipe().await?;
            done
        }
        Order::Copy(done) => {
            slot.copy().await?;
            done
        }
        Order::BecomeCopy(done) => {
            slot.become_copy().await?;
            done
        }
    };
    // Nobody waits any more when the run is over.
    let _ = done.send(());
    Ok(())
}

async fn perform(slot: &Slot, act: &Act, troupe: &Troupe) {
    let Some(client) = slot.sdk() else { return };
    let choice = act.choice;
    match act.what {
        Deed::Send { messages } => {
            for _ in 0..messages {
                if client.outbox_len() < OUTBOX_MAX {
                    send(slot, client, choice, troupe);
                }
            }
        }
        Deed::SendFile { bytes } => send_file(slot, client, (choice, bytes), troupe),
        Deed::Fetch => fetch(slot, client, choice, troupe).await,
        Deed::Read => read(slot, client, choice, troupe),
        Deed::Leave { .. } => {}
        Deed::Befriend => relate(slot, client, (choice, Action::Befriend), troupe).await,
        Deed::Remove => relate(slot, client, (choice, Action::Remove), troupe).await,
        Deed::Block => relate(slot, client, (choice, Action::Block), troupe).await,
        Deed::Unblock => relate(slot, client, (choice, Action::Unblock), troupe).await,
        Deed::Revoke => revoke(client, choice, troupe).await,
        Deed::Page => {
            if let Some(conversation) = friend(client, choice) {
                let _ = client.history(conversation, Range::Latest, PAGE).await;
            }
        }
        Deed::Snoop => snoop(slot, client, choice, troupe).await,
    }
}

fn send(slot: &Slot, client: &Client, choice: u64, troupe: &Troupe) {
    let Some(conversation) = friend(client, choice) else { return };
    let op = troupe.op();
    let text = format!("message {op} of client {}", slot.id);
    troupe.recorder.note(What::Send {
        op,
        client: slot.id,
        conversation: conversation.0,
        text: text.clone(),
        file: None,
    });
    let done = client.send(conversation, text);
    troupe.recorder.note(done.map_or_else(|error| failed(op, &error), |_| What::Done { op }));
}

fn send_file(slot: &Slot, client: &Client, (choice, bytes): (u64, usize), troupe: &Troupe) {
    let Some(conversation) = friend(client, choice) else { return };
    if client.uploads().len() >= UPLOADS_MAX {
        return;
    }
    let op = troupe.op();
    let path = slot.outgoing(op);
    let made = match files::make(&path, choice, bytes) {
        Ok(made) => made,
        // The run's own disk is full or broken: nobody was asked for anything.
        Err(error) => return println!("{} is not written: {error}", path.display()),
    };
    troupe.recorder.note(What::Send {
        op,
        client: slot.id,
        conversation: conversation.0,
        text: words::of_file(&files::name_of(op), &made),
        file: Some(made),
    });
    let done = Outgoing::open(&path).and_then(|file| client.send_file(conversation, file));
    troupe.recorder.note(done.map_or_else(|error| failed(op, &error), |_| What::Done { op }));
}

async fn fetch(slot: &Slot, client: &Client, choice: u64, troupe: &Troupe) {
    let Some(conversation) = friend(client, choice) else { return };
    let Ok(held) = client.messages(conversation, None, usize::MAX) else { return };
    let is_file = |message: &&Message| matches!(message.content, Content::File(_));
    let with_file: Vec<_> = held.iter().filter(is_file).collect();
    let Some(message) = pick(&with_file, choice >> 32) else { return };
    files::fetch(slot.id, client, message, &troupe.recorder).await;
    *troupe.fetched.lock() = Some(message.clone());
}

/// What it is told is on record; anything at all is too much.
async fn snoop(slot: &Slot, client: &Client, choice: u64, troupe: &Troupe) {
    let own: Vec<_> = client.relations().into_iter().map(|one| one.id).collect();
    let others: Vec<_> = {
        let all = troupe.conversations.lock();
        all.iter().copied().filter(|id| !own.contains(id)).collect()
    };
    if let Some(conversation) = pick(&others, choice) {
        let _ = client.rest().history(conversation, Range::Latest, PAGE).await;
    }
    let file = troupe.fetched.lock().clone();
    if let Some(message) = file.filter(|message| !own.contains(&message.conversation)) {
        files::fetch(slot.id, client, &message, &troupe.recorder).await;
    }
}

fn read(slot: &Slot, client: &Client, choice: u64, troupe: &Troupe) {
    let Some(conversation) = friend(client, choice) else { return };
    let marks = client.watermarks(conversation);
    if marks.head <= marks.read {
        return;
    }
    let (op, conv_seq) = (troupe.op(), marks.head);
    let what = What::Read { op, client: slot.id, conversation: conversation.0, conv_seq };
    troupe.recorder.note(what);
    let done = client.mark_read(conversation, conv_seq);
    troupe.recorder.note(done.map_or_else(|error| failed(op, &error), |()| What::Done { op }));
}

async fn relate(slot: &Slot, client: &Client, (choice, action): (u64, Action), troupe: &Troupe) {
    let peers: Vec<_> = troupe
        .fickle
        .iter()
        .filter(|pair| pair.contains(&slot.user))
        .map(|[one, other]| if *one == slot.user { *other } else { *one })
        .collect();
    let Some(peer) = pick(&peers, choice) else { return };
    let _ = troupe.relate(slot, client, troupe.users[peer], action).await;
}

async fn revoke(client: &Client, choice: u64, troupe: &Troupe) {
    let Ok(sessions) = client.rest().sessions().await else { return };
    let devices: Vec<_> = sessions.sessions.iter().map(|session| session.device).collect();
    let Some(device) = pick(&devices, choice) else { return };
    // Noted first: it may end before the answer is here.
    troupe.recorder.note(What::Revoked { device: device.0 });
    let _ = client.rest().revoke(device).await;
}

/// A conversation in which this client may write.
fn friend(client: &Client, choice: u64) -> Option<ConversationId> {
    let relations = client.relations();
    let friends = relations.iter().filter(|one| one.state == RelationState::Friends);
    pick(&friends.map(|one| one.id).collect::<Vec<_>>(), choice)
}

fn pick<T: Copy>(items: &[T], choice: u64) -> Option<T> {
    let index = usize::try_from(choice % items.len().max(1) as u64).unwrap_or(0);
    items.get(index).copied()
}
