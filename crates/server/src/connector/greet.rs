//! The parts of a connection that wait for the store: authentication, pages, resends, the end.

use std::{sync::Arc, time::Instant};

use anser_proto::{Code, Seq, SessionId, UserId, wire};
use anser_store::{Greeting, Hello, InboxPage, NewEntry, PageLimit, StoreError};
use tracing::{debug, warn};

use super::{connection::Connection, feed, mailbox::Mailbox, planted, position::Position};
use crate::{clock, token};

/// One page from the store: the window of a session.
const PAGE: PageLimit = PageLimit { entries: 256, bytes: 1024 * 1024 };

impl Connection {
    /// Answers a Hello: Welcome, Reset or Close.
    pub(super) async fn greet(&mut self, hello: wire::Hello) {
        if let Err(code) = self.try_greet(hello).await {
            self.session.close(code);
        }
        self.drain();
    }

    async fn try_greet(&mut self, hello: wire::Hello) -> Result<(), Code> {
        let store = self.context.store.clone();
        let owner = store.token(token::hash(&hello.token)).await.map_err(code_of)?;
        let owner = owner.ok_or(Code::Unauthenticated)?;
        // In the registry before the head is read: what is committed after the read rings the bell.
        // And before the device is looked up: a revocation after that closes this session.
        let session = SessionId::random();
        let member = Arc::new(Mailbox::new(owner.user, owner.device, session));
        let per_user = self.context.config.connections_per_user;
        self.context.registry.online(&member, per_user).map_err(|_| Code::TooManyConnections)?;
        let live = member.live();
        self.member = Some(member.clone());
        self.guest = None;
        if let Some(neighbours) = &self.context.neighbours {
            neighbours.online(live).await;
        }
        let said = Hello {
            session,
            epoch: hello.epoch,
            position: hello.position,
            outbox_head: hello.outbox_head,
            outbox_trimmed: hello.outbox_trimmed,
        };
        let greeting = store.greet(owner.device, said, clock::now_ms()).await.map_err(code_of)?;
        let greeting = greeting.ok_or(Code::Unauthenticated)?;
        member.greeted();
        match greeting {
            Greeting::DeviceStale => Err(Code::DeviceStale),
            Greeting::Reset { epoch, head, outbox_position, outbox_digest } => {
                let outbox_digest = wire::outbox_digest(outbox_digest);
                self.session.reset(wire::Reset { epoch, head, outbox_position, outbox_digest });
                Ok(())
            }
            Greeting::Welcome { head, floor, outbox_position, outbox_digest, inbox_position } => {
                let position = hello.position;
                self.resume(owner.user, position, inbox_position).await.map_err(code_of)?;
                self.welcome(
                    position,
                    wire::Welcome {
                        epoch: self.context.epoch.clone(),
                        head,
                        floor,
                        outbox_position,
                        outbox_digest: wire::outbox_digest(outbox_digest),
                        heartbeat_ms: self.context.heartbeat_ms(),
                        limits: Some(self.context.limits()),
                    },
                );
                Ok(())
            }
        }
    }

    fn welcome(&mut self, position: Seq, welcome: wire::Welcome) {
        let Some(member) = &self.member else { return };
        self.welcome_head = welcome.head;
        self.applied = welcome.outbox_position;
        self.feed.start(position, welcome.head);
        planted::resumed(member, &mut self.feed);
        debug!(user = %member.user(), device = %member.device(), position, "a device came online");
        self.context.metrics.sessions.increment(1.0);
        self.welcomed = true;
        self.session.welcome(Instant::now(), position, welcome);
    }

    /// The device holds everything up to `position`, but the store knows only of `stored`: what
    /// lies between was perhaps never counted as delivered (the server stopped before), so count it
    /// now.
    async fn resume(&mut self, user: UserId, position: Seq, stored: Seq) -> Result<(), StoreError> {
        self.position = Position::new(position, stored);
        let mut after = stored;
        while after < position {
            let page = self.context.store.read_inbox(user, after, PAGE).await?;
            let InboxPage::Entries { entries, .. } = page else { break };
            let Some(last) = entries.last() else { break };
            after = last.seq;
            let held = entries.iter().filter(|entry| entry.seq <= position);
            let delivered = feed::delivered(held.map(|entry| entry.mark));
            self.record_ack(delivered, after >= position);
        }
        Ok(())
    }

    /// Reads the next entries from the log.
    pub(super) async fn read_page(&mut self) {
        let Some(next) = self.session.next_push() else { return };
        match self.read_after(next - 1, PAGE).await {
            Ok((entries, head)) if !entries.is_empty() => self.feed.page(entries, head),
            // The bell rang for rows that are not there: impossible by the order of commit and
            // bell.
            Ok(_) => self.session.close(Code::Internal),
            Err(code) => self.session.close(code),
        }
        self.drain();
    }

    /// Pushes the oldest unacked entry once more.
    pub(super) async fn resend(&mut self, seq: Seq) {
        match self.read_after(seq - 1, PageLimit { entries: 1, bytes: 0 }).await {
            Ok((entries, _)) => {
                if let Some(entry) = entries.into_iter().find(|entry| entry.seq == seq) {
                    let body = self.context.fitting(entry.user, seq, entry.entry);
                    self.session.resend(Instant::now(), seq, body);
                }
            }
            Err(code) => self.session.close(code),
        }
        self.drain();
    }

    async fn read_after(&self, after: Seq, limit: PageLimit) -> Result<(Vec<NewEntry>, Seq), Code> {
        let user = self.member.as_ref().map(|member| member.user()).ok_or(Code::Internal)?;
        match self.context.store.read_inbox(user, after, limit).await.map_err(code_of)? {
            InboxPage::Entries { entries, head } => Ok((entries, head)),
            InboxPage::BelowFloor { .. } => Err(Code::BelowFloor),
        }
    }

    /// Hands records over to the transfer; waits while its queue is full.
    pub(super) async fn hand_over(&mut self) {
        let queue = self.context.queue.clone();
        if queue.publish(&mut self.records, Instant::now()).await.is_err() {
            self.records.clear();
            self.session.close(Code::GoingAway);
            self.drain();
        }
    }

    /// Cleans up after the last frame.
    pub(super) async fn end(mut self) {
        if self.welcomed {
            self.context.metrics.sessions.decrement(1.0);
            self.record_ack(Vec::new(), true);
        }
        if !self.records.is_empty() {
            let queue = self.context.queue.clone();
            // A closed queue costs nothing: the device resends, and acks again at its next Hello.
            let _ = queue.publish(&mut self.records, Instant::now()).await;
        }
        if let Some(member) = &self.member {
            let code = self.closed.as_ref().and_then(|closed| closed.code);
            self.followed.cut(&self.context.tracer, member, code);
            self.context.registry.offline(member);
            if let Some(neighbours) = &self.context.neighbours {
                neighbours.presence.offline(member.live()).await;
            }
            // A store that is closing forgets its sessions anyway.
            let _ = self.context.store.leave(member.device(), member.session()).await;
        }
        let code = self.closed.as_ref().and_then(|closed| closed.code);
        self.context.metrics.closed(code);
        debug!(code = code.map_or("none", Code::name), "a connection ended");
        self.transport.close(super::connection::CLOSE_TIMEOUT).await;
    }
}

fn code_of(error: StoreError) -> Code {
    warn!(%error, "the store refused a connection's request");
    match error {
        StoreError::DiskFull => Code::DiskFull,
        StoreError::Unavailable(_) => Code::Unavailable,
        StoreError::Corrupt(_) => Code::Internal,
    }
}
