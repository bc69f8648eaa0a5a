//! Runs a plan: each operation on the model and on the store, with the same result.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anser_proto::{ConversationId, DeviceId, FileId, SessionId, UserId};

use super::super::{Factory, World};
use super::commit::spot;
use super::model::{Device, Model, User};
use super::pairs::{Answer, pair_of};
use super::plan::{Dice, Operation, Outbox, Spot};
use crate::*;

/// A plan that is under way.
pub(super) struct Run {
    pub(super) world: World,
    pub(super) model: Model,
    seed: u64,
    /// For ids, keys and hashes.
    dice: Dice,
    users: Vec<UserId>,
    /// All that ever were, with their users.
    devices: Vec<(UserId, DeviceId)>,
    /// In the order of their making: their ids are random.
    pub(super) conversations: Vec<ConversationId>,
    /// All that ever were, in the order of their making.
    pub(super) files: Vec<FileId>,
}

/// Tells where it was when a comparison fails.
struct Step {
    seed: u64,
    number: usize,
    operation: String,
}

impl Drop for Step {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, number, operation } = self;
            eprintln!("random operations: seed {seed}, operation {number}: {operation}");
        }
    }
}

impl Run {
    pub(super) async fn new(factory: &dyn Factory, seed: u64) -> Self {
        let world = World::open(factory).await;
        let epoch = world.store.meta().await.expect("meta").epoch;
        Self {
            model: Model::new(epoch, world.now()),
            world,
            seed,
            dice: Dice::new(!seed),
            users: Vec::new(),
            devices: Vec::new(),
            conversations: Vec::new(),
            files: Vec::new(),
        }
    }

    pub(super) async fn step(&mut self, factory: &dyn Factory, number: usize, what: Operation) {
        let operation = format!("{what:?}");
        let step = Step { seed: self.seed, number, operation };
        match what {
            Operation::AddUser => self.add_user().await,
            Operation::AddDevice { user, devices_max } => self.add_device(user, devices_max).await,
            Operation::Commit(items) => self.commit(&items).await,
            Operation::Relate { actor, peer, action, relations_max } => {
                let users = (self.user(actor), self.user(peer));
                self.relate(users, action, relations_max).await;
            }
            Operation::Greet { device, known_epoch, position, outbox } => {
                self.greet(device, known_epoch, (position, outbox)).await;
            }
            Operation::Revoke { device, others } => self.revoke(device, others).await,
            Operation::SetActive { user, active } => self.set_active(user, active).await,
            Operation::RemoveUser { user } => self.remove_user(user).await,
            Operation::Prune { ticks, rows_max } => self.prune(ticks, rows_max).await,
            Operation::Files(what) => self.files(what).await,
            Operation::Tick => self.tick(),
            Operation::Reopen => self.world.reopen(factory).await,
            Operation::Crash => {
                let store = Arc::clone(&self.world.store);
                self.world.store = factory.crash(store).await;
            }
        }
        if number.is_multiple_of(CHECK_EVERY) {
            self.check().await;
        }
        drop(step);
    }

    /// The last look, and one after a restart.
    pub(super) async fn end(&mut self, factory: &dyn Factory) {
        let operation = "the end".into();
        let step = Step { seed: self.seed, number: usize::MAX, operation };
        self.check().await;
        self.world.reopen(factory).await;
        self.check().await;
        drop(step);
    }

    pub(super) fn user(&self, index: usize) -> UserId {
        self.users[index % self.users.len()]
    }

    pub(super) fn device(&self, index: usize) -> (UserId, DeviceId) {
        self.devices[index % self.devices.len()]
    }

    fn hash(&mut self) -> Hash {
        let mut hash = [0; 32];
        hash.chunks_mut(8).for_each(|part| part.copy_from_slice(&self.dice.bits().to_be_bytes()));
        hash
    }

    fn tick(&mut self) {
        self.model.now_ms += TICK_MS;
        self.world.now_ms.store(self.model.now_ms, Relaxed);
    }

    async fn add_user(&mut self) {
        let (id, name) = (UserId(self.dice.bits()), format!("user-{}", self.users.len()));
        let new = NewUser {
            id,
            name: name.clone(),
            display_name: name.to_uppercase(),
            password_hash: None,
            system: false,
            invite: None,
            now_ms: self.model.now_ms,
        };
        let created = self.world.store.create_user(new).await.expect("creates");
        assert!(matches!(&created, CreateUser::Created(user) if user.id == id), "{created:?}");
        let user = User { name, active: true, floor: 1, ..User::default() };
        self.model.users.insert(id, user);
        self.users.push(id);
    }

    async fn add_device(&mut self, user: usize, devices_max: usize) {
        let (user, token, now_ms) = (self.user(user), self.hash(), self.model.now_ms);
        let name = "a device".to_owned();
        let new = NewDevice { user, name, token_hash: token, devices_max, now_ms };
        let made = self.world.store.create_device(new).await.expect("answers");
        let count = self.model.devices.values().filter(|device| device.user == user).count();
        assert_eq!(made.is_some(), self.model.users[&user].active && count < devices_max);
        let Some(id) = made else { return };
        let device = Device {
            user,
            token,
            outbox: Vec::new(),
            skipped: 0,
            inbox_position: self.model.head(user),
            created_at_ms: now_ms,
            seen_at_ms: now_ms,
        };
        assert!(self.model.devices.insert(id, device).is_none(), "a fresh id");
        self.devices.push((user, id));
    }

    async fn relate(
        &mut self,
        (actor, peer): (UserId, UserId),
        action: RelationAction,
        relations_max: usize,
    ) {
        let (wrapped_key, now_ms) = (self.hash().to_vec(), self.model.now_ms);
        let key = wrapped_key.clone();
        let change = RelationChange { actor, peer, action, wrapped_key, relations_max, now_ms };
        let outcome = self.world.store.change_relation(change).await.expect("answers");
        let (made, rows) = match &outcome {
            RelationOutcome::Done { relation, entries } => (Some(relation.id), &entries[..]),
            RelationOutcome::Refused(_) => (None, &[][..]),
        };
        let expected = self.model.relate((actor, peer), action, (&key, relations_max), made);
        match (&outcome, &expected) {
            (RelationOutcome::Done { relation, .. }, Answer::Done(state, _)) => {
                assert_eq!((relation.state, relation.peer.id), (*state, peer));
                let pair = self.model.pairs.get(&pair_of(actor, peer).0);
                let pair = pair.expect("what was done left a row");
                assert_eq!((relation.id, &relation.wrapped_keys), (pair.id, &pair.keys));
                let id = relation.id;
                if self.model.conversations.contains_key(&id) && !self.conversations.contains(&id) {
                    self.conversations.push(id);
                }
            }
            (RelationOutcome::Refused(code), Answer::Refused(other)) => assert_eq!(code, other),
            _ => panic!("{outcome:?} instead of {expected:?}"),
        }
        self.compare_entries(rows);
    }

    async fn greet(&mut self, device: usize, known_epoch: bool, (spot_, outbox): (Spot, Outbox)) {
        let (user, device) = self.device(device);
        let known = self.model.devices.get(&device);
        let position = known.map_or(0, |device| device.outbox.len() as Seq);
        let (outbox_head, outbox_trimmed) = match outbox {
            Outbox::Even => (position, position),
            Outbox::Behind => (position.saturating_sub(1), 0),
            Outbox::Forgot(more) => (position + more + 1, position + more),
        };
        let epoch = if known_epoch { self.model.epoch.clone() } else { "before".into() };
        let position = spot(spot_, self.model.head(user));
        let hello = Hello { session: SessionId(0), epoch, position, outbox_head, outbox_trimmed };
        let greeting = self.world.store.greet(device, hello.clone(), self.model.now_ms).await;
        assert_eq!(greeting.expect("answers"), self.model.greet(device, &hello), "{hello:?}");
        // The records of a plan come by no session.
        self.world.store.leave(device, SessionId(0)).await.expect("leaves");
        // `seen_at` may move with the next commit.
        self.world.commit(Vec::new()).await;
    }

    async fn revoke(&mut self, device: usize, others: bool) {
        let (user, device) = self.device(device);
        let which = if others { Devices::AllBut(device) } else { Devices::One(device) };
        let mut ended = self.world.store.revoke_devices(user, which).await.expect("revokes");
        ended.sort_unstable();
        let all = self.model.devices.iter().filter(|(_, known)| known.user == user);
        let expected: Vec<_> =
            all.map(|(id, _)| *id).filter(|id| (*id == device) != others).collect();
        assert_eq!(ended, expected);
        expected.iter().for_each(|id| drop(self.model.devices.remove(id)));
    }

    async fn set_active(&mut self, user: usize, active: bool) {
        let id = self.user(user);
        let state = Some(if active { UserState::Active } else { UserState::Disabled });
        let change = UserChange { state, ..UserChange::default() };
        let changed = self.world.store.update_user(id, change).await.expect("answers");
        let user = self.model.users.get_mut(&id).expect("a user");
        assert_eq!(changed, (!user.removed).then(Vec::new));
        user.active = active && !user.removed;
    }

    async fn remove_user(&mut self, user: usize) {
        let id = self.user(user);
        let removed = self.world.store.remove_user(id, self.model.now_ms).await.expect("answers");
        let user = self.model.users.get_mut(&id).expect("a user");
        assert_eq!(removed.is_some(), !user.removed);
        let Some(removed) = removed else { return };
        (user.removed, user.active) = (true, false);
        self.model.end_pairs(id);
        self.compare_entries(&removed.entries);
        let mut devices = removed.devices;
        devices.sort_unstable();
        let all = self.model.devices.iter().filter(|(_, device)| device.user == id);
        let expected: Vec<_> = all.map(|(device, _)| *device).collect();
        assert_eq!(devices, expected);
        self.model.devices.retain(|_, device| device.user != id);
    }

    async fn prune(&mut self, ticks: u64, rows_max: usize) {
        let older_than_ms = self.model.now_ms + 1 - ticks * TICK_MS;
        let mut pruned = 0;
        loop {
            let step = self.world.store.prune(older_than_ms, rows_max).await.expect("prunes");
            assert!(step <= rows_max as u64, "a step is bounded");
            pruned += step;
            if step == 0 {
                break;
            }
        }
        assert_eq!(pruned, self.model.prune(older_than_ms));
    }
}

/// Longer than a `seen_at` may lag.
pub(super) const TICK_MS: u64 = 100_000;
const CHECK_EVERY: usize = 60;
