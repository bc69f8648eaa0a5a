//! What the view and its surroundings tell each other.

use anser_client::{
    Message, Relation, RelationAction, Waiting, Watermarks,
    proto::{ConversationId, DeviceId, Seq, UserId},
};

use super::conversation::Tick;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Send a text.
    Send(ConversationId, String),
    /// Send the file at this path.
    SendFile(ConversationId, String),
    /// Save the newest file, or the newest one of this name when it is not empty.
    Save(ConversationId, String),
    /// Say that the user has read up to there.
    MarkRead(ConversationId, Seq),
    /// Fetch the messages before this one; `None`: the newest.
    Older(ConversationId, Option<Seq>),
    /// Ask a user of this name to become friends.
    Befriend(String),
    /// Change the relation with a user of this name, whose id is known or not.
    Change(String, Option<UserId>, RelationAction),
    /// Leave.
    Quit,
}

/// What came of an [`Ask`] that took time.
#[derive(Debug)]
pub(super) enum Answer {
    /// A relation is now like this.
    Relation(Relation),
    /// Older messages, and whether there are more before them.
    Page(ConversationId, Vec<Message>, bool),
    /// No older messages can be had now.
    NoPage(ConversationId, String),
    /// It goes on; the sentence says how far it is, and more answers follow.
    Progress(String),
    /// It is done; the sentence says what.
    Done(String),
    /// It failed; the sentence says why.
    Failed(String),
}

/// Something to tell, for readers of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A message that was not here before.
    Message { conversation: ConversationId, at_ms: u64, name: String, text: String },
    /// An own message is further than before.
    Tick(Tick, String),
    /// A sentence.
    Notice(String),
}

/// Who the user is.
#[derive(Clone, Debug)]
pub(super) struct Me {
    pub(super) user: UserId,
    pub(super) name: String,
    pub(super) device: DeviceId,
}

/// What the client knows, as a whole: at the start, and when events were missed.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) relations: Vec<(Relation, Watermarks, Vec<Message>)>,
    pub(super) waiting: Vec<Waiting>,
}
