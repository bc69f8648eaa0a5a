//! What an error makes of an upload, and a storage that fails when its message is put there.

use anser_proto::{ConversationId, DeviceId, Seq, UserId};

use super::*;
use crate::{
    builder::Builder,
    credentials::Session,
    event::{Message, Queue, RelationState},
    model::Model,
    rest::Rest,
    shared::Shared,
    storage::{Change, Identity, Saved, SavedRelation, Storage},
};

/// Refuses the first transaction and takes those that follow.
struct FailsOnce(bool);

impl Storage for FailsOnce {
    fn load(&mut self) -> Result<Saved> {
        Ok(Saved::default())
    }

    fn apply(&mut self, _: &[Change]) -> Result<()> {
        if std::mem::replace(&mut self.0, true) {
            return Ok(());
        }
        Err(Error::storage(std::io::Error::other("broken by the test")))
    }

    fn messages(&mut self, _: ConversationId, _: Option<Seq>, _: usize) -> Result<Vec<Message>> {
        Ok(Vec::new())
    }
}

/// A device that is about to queue the message of its only upload.
fn saved() -> Saved {
    let chat = ConversationId(7);
    let upload = SavedUpload {
        number: 1,
        conversation: chat,
        path: String::new(),
        name: "a file".to_owned(),
        media_type: String::new(),
        size: 5,
        modified_ns: 0,
        key: [7; 32],
        pixels: None,
        preview: Vec::new(),
        file: Some(FileId(9)),
        client_seq: None,
    };
    let relation = SavedRelation {
        id: chat,
        peer: UserId(22),
        peer_name: "bob".to_owned(),
        state: RelationState::Friends as i32,
        keys: vec![[1; 32]],
    };
    let identity = Identity {
        user: UserId(11),
        name: "alice".to_owned(),
        device: DeviceId(12),
        token: String::new(),
    };
    Saved {
        identity: Some(identity),
        relations: vec![relation],
        uploads: vec![upload],
        ..Saved::default()
    }
}

#[test]
fn a_storage_that_fails_once_does_not_lose_the_upload() {
    let server = "http://127.0.0.1:1";
    let (model, rest) = (Model::new(saved()).unwrap(), Rest::new(server).unwrap());
    let shared = Shared::new(model, Box::new(FailsOnce(false)), Queue::new(16), rest, 16);
    let builder = Builder::new(server.to_owned());
    let task = Task::new(Arc::new(shared), builder, Box::new(Session::stored()));
    let next = || task.shared.local.lock().model.uploads.next();
    let head = || task.shared.local.lock().model.outbox.head();

    let upload = next().unwrap();
    let refused = task.queue(&upload, FileId(9), [0; 32]);
    assert!(matches!(refused, Err(Broken::Later(_))));
    assert_eq!(head(), 0);
    let upload = next().unwrap();
    assert!(task.queue(&upload, FileId(9), [0; 32]).is_ok());
    assert_eq!(head(), 1);
    assert!(next().is_none());
}

#[test]
fn what_passes_is_waited_for_and_only_the_server_loses_a_file() {
    let becomes = |kind| match sorted(Error::new(kind, "")) {
        Broken::Later(_) => "later",
        Broken::Lost => "lost",
        Broken::Never(_) => "never",
    };
    assert_eq!(becomes(ErrorKind::Unreachable), "later");
    for code in [Code::Unavailable, Code::DiskFull, Code::UploadBusy, Code::Unauthenticated] {
        assert_eq!(becomes(ErrorKind::Refused(code)), "later", "{code:?}");
    }
    for code in [Code::NotFound, Code::FileGone] {
        assert_eq!(becomes(ErrorKind::Refused(code)), "lost", "{code:?}");
    }
    for code in [Code::QuotaExceeded, Code::NotMember, Code::FileTooLarge] {
        assert_eq!(becomes(ErrorKind::Refused(code)), "never", "{code:?}");
    }
    assert_eq!(becomes(ErrorKind::Protocol), "never");
}
