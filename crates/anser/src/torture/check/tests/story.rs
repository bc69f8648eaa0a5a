//! A small correct server with correct clients, and what they record. Two users have one
//! conversation; a third knows nobody.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use crate::torture::history::{
    Action, ClientId, Command, Conversation, ConversationState, Device, FileBytes, Kind, Marks,
    Message, Row, State, User, What,
};

pub(super) const ALICE: User = 1;
pub(super) const BOB: User = 2;
pub(super) const EVE: User = 3;
pub(super) const TALK: Conversation = 7;
/// Alice's phone and laptop, Bob's phone, by client.
pub(super) const PHONE: ClientId = 0;
pub(super) const BOBS: ClientId = 1;
pub(super) const LAPTOP: ClientId = 2;

pub(super) struct Story {
    pub(super) what: Vec<What>,
    pub(super) server: Server,
    pub(super) clients: BTreeMap<ClientId, Client>,
    backup: Option<Server>,
    backups: u64,
    /// A restore puts the bytes of files back, too.
    pub(super) keeps_files: bool,
    ops: u64,
    conns: u64,
    devices: Device,
}

#[derive(Clone)]
pub(super) struct Server {
    epoch: String,
    pub(super) inboxes: BTreeMap<User, Vec<Row>>,
    pub(super) messages: Vec<Message>,
    /// Delivered and read.
    marks: BTreeMap<User, (u64, u64)>,
    outboxes: BTreeMap<Device, u64>,
    friends: bool,
}

#[derive(Clone)]
pub(super) struct Client {
    pub(super) user: User,
    pub(super) device: Device,
    pub(super) conn: Option<u64>,
    epoch: String,
    pub(super) position: u64,
    /// Waiting commands by number.
    outbox: BTreeMap<u64, Command>,
    given: u64,
    held: BTreeMap<u64, Message>,
}

impl Story {
    /// Alice and Bob become friends and are online.
    pub(super) fn new() -> Self {
        let server = Server {
            epoch: "first".to_owned(),
            inboxes: [ALICE, BOB, EVE].map(|user| (user, Vec::new())).into(),
            messages: Vec::new(),
            marks: BTreeMap::from([(ALICE, (0, 0)), (BOB, (0, 0))]),
            outboxes: BTreeMap::new(),
            friends: false,
        };
        let (what, clients) = (Vec::new(), BTreeMap::new());
        let (backup, backups, devices) = (None, 0, 10);
        let mut story = Self {
            what,
            server,
            clients,
            backup,
            backups,
            keeps_files: false,
            ops: 0,
            conns: 0,
            devices,
        };
        story.join(PHONE, ALICE);
        story.join(BOBS, BOB);
        story.befriend();
        story
    }

    /// With two messages in each direction, a read mark and a second device of Alice.
    pub(super) fn busy() -> Self {
        let mut story = Self::new();
        story.send(PHONE, "hello");
        story.send(BOBS, "hello yourself");
        story.join(LAPTOP, ALICE);
        story.send(LAPTOP, "how are you");
        story.read(BOBS, 3);
        story.send(BOBS, "fine");
        story
    }

    pub(super) fn befriend(&mut self) {
        for (client, user, peer) in [(PHONE, ALICE, BOB), (BOBS, BOB, ALICE)] {
            self.relate(client, (user, peer), Action::Befriend);
        }
        self.server.friends = true;
        self.tell_relation();
    }

    /// Alice removes Bob.
    pub(super) fn remove(&mut self) {
        self.relate(PHONE, (ALICE, BOB), Action::Remove);
        self.server.friends = false;
        self.tell_relation();
    }

    fn relate(&mut self, client: ClientId, (user, peer): (User, User), action: Action) {
        self.ops += 1;
        let op = self.ops;
        self.what.extend([What::Relate { op, client, user, peer, action }, What::Done { op }]);
    }

    fn tell_relation(&mut self) {
        let friends = self.server.friends;
        for (user, peer) in [(ALICE, BOB), (BOB, ALICE)] {
            self.server.push(user, Kind::Relation { relation: TALK, peer, friends }, None);
        }
        self.flush();
    }

    /// A client becomes a new device, takes over what waits, and connects.
    pub(super) fn join(&mut self, client: ClientId, user: User) {
        self.devices += 1;
        let device = self.devices;
        let old = self.clients.remove(&client);
        let held = old.as_ref().map(|old| old.held.clone()).unwrap_or_default();
        let waiting = old.map(|old| old.outbox).unwrap_or_default();
        self.snapshot_of(client, user);
        self.what.push(What::Became { client, user, device });
        self.clients.insert(
            client,
            Client {
                user,
                device,
                conn: None,
                epoch: String::new(),
                position: 0,
                outbox: BTreeMap::new(),
                given: 0,
                held,
            },
        );
        self.hold_history(client);
        self.start(client);
        for command in waiting.into_values() {
            self.enqueue(client, command);
        }
        self.connect(client);
    }

    fn snapshot_of(&mut self, client: ClientId, user: User) {
        let (epoch, head) = (self.server.epoch.clone(), self.server.head(user));
        let state = self.server.state(user);
        self.what.push(What::Snapshot { client, user, epoch, head, state });
    }

    /// What the device lacks: above what it holds, or else above what its user has got.
    fn hold_history(&mut self, client: ClientId) {
        let known = &self.clients[&client];
        let Some((own, _)) = self.server.marks.get(&known.user).copied() else { return };
        let from = known.held.keys().last().copied().unwrap_or(own);
        let missed: Vec<_> =
            self.server.messages.iter().filter(|one| one.conv_seq > from).cloned().collect();
        if !missed.is_empty() {
            let user = known.user;
            let messages = missed.clone();
            self.what.push(What::Page { client, user, conversation: TALK, messages });
        }
        missed.into_iter().for_each(|message| self.hold(client, message));
    }

    fn hold(&mut self, client: ClientId, message: Message) {
        let known = self.clients.get_mut(&client).unwrap();
        if known.held.insert(message.conv_seq, message.clone()).is_none() {
            self.what.push(What::Holds { client, device: known.device, message });
        }
    }

    fn start(&mut self, client: ClientId) {
        let user = self.clients[&client].user;
        let (epoch, position) = (self.server.epoch.clone(), self.server.head(user));
        let known = self.clients.get_mut(&client).unwrap();
        (known.epoch, known.position) = (epoch.clone(), position);
        self.what.push(What::Stored { client, device: known.device, epoch, position });
    }

    pub(super) fn disconnect(&mut self, client: ClientId) {
        self.clients.get_mut(&client).unwrap().conn = None;
    }

    /// Says Hello; starts anew if it must; gets what it missed, and sends what waits.
    pub(super) fn connect(&mut self, client: ClientId) {
        self.conns += 1;
        let conn = self.conns;
        let known = self.clients[&client].clone();
        let (device, position) = (known.device, known.position);
        self.what.push(What::Hello { conn, client, device, epoch: known.epoch.clone(), position });
        let (epoch, head) = (self.server.epoch.clone(), self.server.head(known.user));
        let outbox = self.server.outboxes.entry(device).or_default();
        if known.epoch != epoch {
            let first = known.outbox.keys().next().copied();
            *outbox = (*outbox).max(first.map_or(known.given, |first| first - 1));
            let outbox_position = *outbox;
            self.what.push(What::Reset { conn, epoch, head, outbox_position });
            self.snapshot_of(client, known.user);
            let server = self.server.messages.clone();
            let held = &mut self.clients.get_mut(&client).unwrap().held;
            held.retain(|_, one| server.contains(one));
            self.hold_history(client);
            self.start(client);
            return self.connect(client);
        }
        let outbox_position = *outbox;
        self.what.push(What::Welcome { conn, epoch, head, floor: 1, outbox_position });
        self.clients.get_mut(&client).unwrap().conn = Some(conn);
        self.push(client);
        self.what.push(What::CaughtUp { conn });
        self.flush();
        for number in known.outbox.keys().filter(|number| **number > outbox_position) {
            self.apply(client, *number);
            self.ack(client, *number);
        }
        self.flush();
    }

    /// Pushes what a client lacks, which stores and acks it.
    fn push(&mut self, client: ClientId) {
        loop {
            let known = self.clients[&client].clone();
            let inbox = &self.server.inboxes[&known.user];
            let index = usize::try_from(known.position).unwrap();
            let (Some(conn), Some(row)) = (known.conn, inbox.get(index).copied()) else { return };
            let mut shown = row;
            let seq = known.position + 1;
            if let Kind::Message { device, conv_seq, .. } = row.kind {
                // The sender has the text.
                shown.body = row.body.filter(|_| device != known.device);
                self.what.push(What::Pushed { conn, seq, row: shown });
                let message = self.server.messages[usize::try_from(conv_seq - 1).unwrap()].clone();
                self.hold(client, message);
            } else {
                self.what.push(What::Pushed { conn, seq, row: shown });
            }
            let known = self.clients.get_mut(&client).unwrap();
            known.position = seq;
            if let Some((device, number)) = super::super::views::named(&row.kind)
                && device == known.device
            {
                known.outbox.retain(|waiting, _| *waiting > number);
            }
            let (device, epoch, position) = (known.device, known.epoch.clone(), known.position);
            self.what.push(What::Stored { client, device, epoch, position });
            self.what.push(What::Confirmed { conn, position });
            if let Kind::Message { conv_seq, sender, .. } = row.kind
                && sender != known.user
            {
                let user = known.user;
                self.server.mark(user, (conv_seq, 0));
            }
        }
    }

    /// Until everybody online has everything.
    pub(super) fn flush(&mut self) {
        loop {
            let rows: usize = self.server.inboxes.values().map(Vec::len).sum();
            let online: Vec<_> = self.clients.keys().copied().collect();
            online.into_iter().for_each(|client| self.push(client));
            if rows == self.server.inboxes.values().map(Vec::len).sum::<usize>() {
                return;
            }
        }
    }

    fn enqueue(&mut self, client: ClientId, command: Command) -> u64 {
        let known = self.clients.get_mut(&client).unwrap();
        known.given += 1;
        let (device, client_seq) = (known.device, known.given);
        known.outbox.insert(client_seq, command.clone());
        self.what.push(What::Queued { client, device, client_seq, command });
        client_seq
    }

    /// Puts a message into the outbox.
    pub(super) fn queue(&mut self, client: ClientId, text: &str) -> u64 {
        self.queue_with(client, text, None)
    }

    /// The same with a file; its bytes take no time.
    pub(super) fn queue_with(
        &mut self,
        client: ClientId,
        text: &str,
        file: Option<FileBytes>,
    ) -> u64 {
        self.ops += 1;
        let (op, conversation) = (self.ops, TALK);
        let text = text.to_owned();
        self.what.push(What::Send { op, client, conversation, text: text.clone(), file });
        let number = self.enqueue(client, Command::Send { conversation, text: Some(text) });
        self.what.push(What::Done { op });
        number
    }

    /// The server applies a command.
    pub(super) fn apply(&mut self, client: ClientId, number: u64) {
        let known = &self.clients[&client];
        let (user, device) = (known.user, known.device);
        self.server.apply((user, device, number), &known.outbox[&number].clone());
    }

    pub(super) fn ack(&mut self, client: ClientId, position: u64) {
        let conn = self.clients[&client].conn.unwrap();
        self.what.push(What::Acked { conn, position });
    }

    /// A message from its call to all devices.
    pub(super) fn send(&mut self, client: ClientId, text: &str) {
        let number = self.queue(client, text);
        self.apply(client, number);
        self.ack(client, number);
        self.flush();
    }

    pub(super) fn read(&mut self, client: ClientId, conv_seq: u64) {
        self.ops += 1;
        let (op, conversation) = (self.ops, TALK);
        self.what.push(What::Read { op, client, conversation, conv_seq });
        let number = self.enqueue(client, Command::Read { conversation, conv_seq });
        self.what.push(What::Done { op });
        self.apply(client, number);
        self.ack(client, number);
        self.flush();
    }

    pub(super) fn back_up(&mut self) {
        self.backups += 1;
        let backup = self.backups;
        self.what.push(What::BackupBegun { backup });
        self.backup = Some(self.server.clone());
        self.what.push(What::BackupDone { backup });
    }

    pub(super) fn restore(&mut self) {
        self.restore_as("second");
    }

    /// Restores the backup; everybody is offline.
    pub(super) fn restore_as(&mut self, epoch: &str) {
        self.what.push(What::Fault { fault: 1, kind: "restore" });
        self.clients.values_mut().for_each(|client| client.conn = None);
        self.server = self.backup.clone().unwrap();
        epoch.clone_into(&mut self.server.epoch);
        let (backup, epoch) = (self.backups, self.server.epoch.clone());
        let with_files = self.keeps_files;
        self.what.extend([What::Restored { backup, epoch, with_files }, What::Healed { fault: 1 }]);
    }

    /// Everybody comes back and drains; the end.
    pub(super) fn end(mut self) -> Vec<What> {
        self.what.push(What::Settling);
        let offline: Vec<_> = self.clients.iter().filter(|(_, one)| one.conn.is_none()).collect();
        let offline: Vec<_> = offline.into_iter().map(|(client, _)| *client).collect();
        offline.into_iter().for_each(|client| self.connect(client));
        let (server, what) = (&self.server, &mut self.what);
        for (client, known) in &self.clients {
            let (client, device, user) = (*client, known.device, known.user);
            what.push(What::Drained { client, device, user });
            if !server.marks.contains_key(&user) {
                continue;
            }
            let marks = server.marks_of(user, known.held.keys().last().copied());
            let conversation = TALK;
            what.push(What::Marks { client, conversation, marks });
            let messages = known.held.values().cloned().collect();
            what.push(What::Local { client, conversation, messages });
        }
        let users: HashSet<_> = server.inboxes.keys().copied().collect();
        for user in [ALICE, BOB].into_iter().filter(|user| users.contains(user)) {
            let (epoch, head, state) =
                (server.epoch.clone(), server.head(user), server.state(user));
            let (conversation, messages) = (TALK, server.messages.clone());
            what.push(What::Final { user, conversation, messages });
            what.push(What::FinalState { user, epoch, head, state });
            let rows = (1..).zip(server.inboxes[&user].iter().copied()).collect();
            what.push(What::Audit { user, floor: 1, head, rows });
        }
        self.what
    }
}

impl Server {
    fn head(&self, user: User) -> u64 {
        self.inboxes.get(&user).map_or(0, |rows| rows.len() as u64)
    }

    fn state(&self, user: User) -> State {
        let Some(peer) = [ALICE, BOB].into_iter().find(|peer| *peer != user && user != EVE) else {
            return State::default();
        };
        let is_known = self.inboxes.get(&user).is_some_and(|rows| !rows.is_empty());
        if !is_known {
            return State::default();
        }
        let members = self.marks.iter().map(|(user, marks)| (*user, marks.0, marks.1)).collect();
        let head = self.messages.len() as u64;
        State {
            relations: vec![(TALK, peer, self.friends)],
            conversations: vec![ConversationState { conversation: TALK, head, members }],
        }
    }

    fn marks_of(&self, user: User, held: Option<u64>) -> Marks {
        let peer = if user == ALICE { BOB } else { ALICE };
        let (peer_delivered, peer_read) = self.marks[&peer];
        Marks { head: held.unwrap_or(0), read: self.marks[&user].1, peer_delivered, peer_read }
    }

    pub(super) fn push(&mut self, user: User, kind: Kind, body: Option<u64>) {
        let mut hasher = DefaultHasher::new();
        format!("{kind:?}").hash(&mut hasher);
        let row = Row { digest: hasher.finish(), body, kind };
        self.inboxes.entry(user).or_default().push(row);
    }

    fn mark(&mut self, user: User, (delivered, read): (u64, u64)) {
        let Some(before) = self.marks.get(&user).copied() else { return };
        let now = (before.0.max(delivered).max(read), before.1.max(read));
        if now == before || !self.friends {
            return;
        }
        self.marks.insert(user, now);
        let peer = if user == ALICE { BOB } else { ALICE };
        let (delivered, read) = now;
        self.push(peer, Kind::Receipt { conversation: TALK, user, delivered, read }, None);
    }

    pub(super) fn apply(&mut self, (user, device, number): (User, Device, u64), command: &Command) {
        let client_seq = number;
        *self.outboxes.entry(device).or_default() = number;
        if !self.friends {
            let rejected = Kind::Rejected { conversation: TALK, device, client_seq, code: 60 };
            return self.push(user, rejected, None);
        }
        match command {
            Command::Send { conversation, text } => {
                let (conversation, sender) = (*conversation, user);
                let conv_seq = self.messages.len() as u64 + 1;
                let text = text.clone();
                let message = Message { conversation, conv_seq, sender, device, client_seq, text };
                self.messages.push(message);
                let kind = Kind::Message { conversation, conv_seq, sender, device, client_seq };
                [ALICE, BOB].into_iter().for_each(|user| self.push(user, kind, Some(conv_seq)));
            }
            Command::Read { conversation, conv_seq } => {
                let (conversation, read) = (*conversation, *conv_seq);
                self.mark(user, (0, read));
                self.push(user, Kind::ReadMark { conversation, read, device, client_seq }, None);
            }
        }
    }
}
