//! New devices: the way on when the old one can not continue.

use anser_proto::{Code, ConversationId, Seq, rest::LoggedIn, wire};

use super::{Task, snapshot::Taken};
use crate::{
    error::{Error, ErrorKind, Result},
    event::{Content, Event},
    handle::SendState,
    model::{Model, Outcome},
    outbox::Item,
    rest::Authorized,
    shared::seal,
    storage::{Change, Identity},
};

impl Task {
    /// Logs in as this storage's first device.
    pub(super) async fn log_in(&self) -> Result<()> {
        let session = self.credentials.login(&self.shared.rest).await?;
        let mut outcome = Outcome::default();
        let mut local = self.shared.local.lock();
        local.model.become_device(identity(session), &mut outcome);
        self.shared.settle(&mut local, &mut outcome)
    }

    /// The device can not go on: its session ended, or its storage is an old copy. Logs in as a new
    /// one and moves over what was not sent.
    ///
    /// What the old device had sent last is perhaps applied and perhaps not. The history tells: it
    /// is fetched before anything is moved, and after the old device has ended, so that nothing of
    /// it that is still under way is applied later.
    pub(super) async fn become_new_device(&self) -> Result<()> {
        let session = self.new_session().await?;
        let rest = self.shared.rest.with_token(&session.token);
        let taken = match self.end_and_fetch(&rest).await {
            Ok(taken) => taken,
            Err(error) if error.code() == Some(Code::Unauthenticated) => {
                self.session.lock().take();
                let detail = "the new session was refused";
                return Err(Error::with(ErrorKind::Unreachable, detail, error));
            }
            Err(error) => return Err(error),
        };
        let mut outcome = Outcome::default();
        let mut local = self.shared.local.lock();
        let unsent = take_unsent(&mut local.model);
        // One transaction: the new device has all that is unsent, or the old one still has it.
        local.model.become_device(identity(session), &mut outcome);
        local.model.start_from(taken.epoch, taken.head, &mut outcome);
        let mut moved = Vec::new();
        for unsent in unsent {
            let old = unsent.client_seq;
            if let Some(new) = unsent.enqueue(&mut local.model, &mut outcome) {
                moved.push((old, new));
            }
        }
        local.model.uploads_move(&moved, &mut outcome);
        self.shared.settle(&mut local, &mut outcome)?;
        self.session.lock().take();
        Ok(())
    }

    async fn end_and_fetch(&self, rest: &Authorized) -> Result<Taken> {
        let old = self.shared.local.lock().model.device();
        match rest.revoke(old).await {
            Ok(()) => {}
            // It had ended before, or the server was restored from before it.
            Err(error) if error.code() == Some(Code::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.fetch_snapshot(rest).await
    }

    /// A session of the same user on another device.
    async fn new_session(&self) -> Result<LoggedIn> {
        let waiting = self.session.lock().clone();
        if let Some(session) = waiting {
            return Ok(session);
        }
        let session = self.credentials.login(&self.shared.rest).await?;
        let local = self.shared.local.lock();
        if session.user.id != local.model.user() {
            let detail =
                "the credentials are another user's: each user needs a storage of their own";
            return Err(Error::new(ErrorKind::Refused(Code::Forbidden), detail));
        }
        if session.device == local.model.device() {
            let detail = "the credentials gave the session that has just ended";
            return Err(Error::new(ErrorKind::Refused(Code::Unauthenticated), detail));
        }
        *self.session.lock() = Some(session.clone());
        Ok(session)
    }
}

/// A command of the old device that is to be one of the new device.
struct Unsent {
    /// Its number there.
    client_seq: Seq,
    item: Item,
    /// A message is sealed again: device and number are part of the seal. A read mark says the same
    /// on any device.
    message: Option<(ConversationId, Content)>,
}

/// Takes what the server does not have out of the outbox; messages opened.
fn take_unsent(model: &mut Model) -> Vec<Unsent> {
    let taken = model.outbox.take_unsent();
    taken.into_iter().map(|(client_seq, item)| open(model, client_seq, item)).collect()
}

fn open(model: &Model, client_seq: Seq, mut item: Item) -> Unsent {
    let command = item.decode().unwrap_or_default();
    let message = match command.kind {
        Some(wire::command::Kind::Send(send)) => {
            let content = item.content.take();
            let content =
                content.unwrap_or_else(|| model.open_own(client_seq, &send, &command.body));
            Some((ConversationId(send.conversation), content))
        }
        Some(wire::command::Kind::Read(_)) | None => None,
    };
    Unsent { client_seq, item, message }
}

impl Unsent {
    /// Gives its new number; `None`: it can not be sealed any more.
    fn enqueue(self, model: &mut Model, outcome: &mut Outcome) -> Option<Seq> {
        let client_seq = model.outbox.head() + 1;
        let mut item = self.item;
        if let Some((conversation, content)) = self.message {
            let Ok(command) = seal(model, conversation, client_seq, &content) else {
                // Its key is gone, or the server's limit is lower now.
                if let Some(handle) = &item.handle {
                    handle.0.advance(SendState::Failed { code: None });
                }
                outcome.events.push(Event::Rejected { client_seq: self.client_seq, code: None });
                return None;
            };
            item.command = command;
            item.content = Some(content);
        }
        if let Some(handle) = &item.handle {
            handle.0.moved(client_seq);
        }
        let command = item.command.clone();
        outcome.changes.push(Change::Enqueue { client_seq, command });
        model.outbox.push(item);
        Some(client_seq)
    }
}

fn identity(session: LoggedIn) -> Identity {
    Identity {
        user: session.user.id,
        name: session.user.name,
        device: session.device,
        token: session.token,
    }
}
