//! Does what the view asks for: at once where it is local, else by a task whose answer comes back.

use anser_client::proto::{ConversationId, Seq};
use anser_client::{Client, Error, Message, Range, Relation, RelationAction, proto::UserId};
use anser_server::clock;
use tokio::sync::mpsc;

use super::{
    exchange::{Answer, Ask, Known},
    file,
    view::View,
};

/// Messages of each conversation that are there at the start.
const FIRST_PAGE: usize = 100;
/// Messages that one PageUp may fetch; below the server's largest page.
const PAGE: u32 = 100;
/// Answers that may wait; the tasks that bring more wait too.
const ANSWERS_MAX: usize = 64;

/// Does what the view asks for.
pub(super) struct Effects {
    client: Client,
    answers: mpsc::Sender<Answer>,
    /// Calls whose answers were not taken yet.
    unanswered: usize,
}

impl Effects {
    /// The other end gives what came of the calls that take time.
    pub(super) fn new(client: Client) -> (Self, mpsc::Receiver<Answer>) {
        let (answers, answered) = mpsc::channel(ANSWERS_MAX);
        (Self { client, answers, unanswered: 0 }, answered)
    }

    /// What the client knows now.
    ///
    /// # Errors
    /// The storage can not be read.
    pub(super) fn known(&self) -> anser_client::Result<Known> {
        let mut known = Known { waiting: self.client.waiting(), ..Known::default() };
        for relation in self.client.relations() {
            let marks = self.client.watermarks(relation.id);
            let messages = self.client.messages(relation.id, None, FIRST_PAGE)?;
            known.relations.push((relation, marks, messages));
        }
        Ok(known)
    }

    /// Does one thing. False: the user wants to leave.
    pub(super) fn perform(&mut self, ask: Ask, view: &mut View) -> bool {
        match ask {
            Ask::Quit => return false,
            Ask::Send(conversation, text) => match self.client.send(conversation, text.clone()) {
                Ok(sent) => {
                    view.handle_queued(conversation, sent.client_seq(), &text, clock::now_ms());
                }
                Err(error) => view.handle_not_queued(text, &error.to_string()),
            },
            Ask::SendFile(conversation, path) => {
                let answers = self.answers.clone();
                self.tell(file::send(self.client.clone(), conversation, path, answers));
            }
            Ask::Save(conversation, name) => {
                let answers = self.answers.clone();
                self.tell(file::save(self.client.clone(), conversation, name, answers));
            }
            // It goes on by the next message: a mark that finds no room now is no loss.
            Ask::MarkRead(conversation, seq) => {
                let _ = self.client.mark_read(conversation, seq);
            }
            Ask::Older(conversation, before) => self.fetch(conversation, before),
            Ask::Befriend(name) => self.answer(|client| async move {
                let user = client.find_user(&name).await?;
                client.befriend(user.id).await
            }),
            Ask::Change(name, peer, action) => {
                self.answer(|client| change(client, name, peer, action));
            }
        }
        true
    }

    /// Something that was asked for is not answered yet.
    pub(super) fn is_busy(&self) -> bool {
        self.unanswered > 0
    }

    /// An answer was taken.
    pub(super) fn on_answer(&mut self) {
        self.unanswered -= 1;
    }

    /// Does something that tells how far it is and ends in a sentence.
    fn tell(&mut self, call: impl Future<Output = Result<String, Error>> + Send + 'static) {
        let answers = self.answers.clone();
        self.unanswered += 1;
        tokio::spawn(async move {
            let answer = match call.await {
                Ok(done) => Answer::Done(done),
                Err(error) => Answer::Failed(error.to_string()),
            };
            let _ = answers.send(answer).await;
        });
    }

    fn answer<F>(&mut self, call: impl FnOnce(Client) -> F)
    where
        F: Future<Output = Result<Relation, Error>> + Send + 'static,
    {
        let (call, answers) = (call(self.client.clone()), self.answers.clone());
        self.unanswered += 1;
        tokio::spawn(async move {
            let answer = match call.await {
                Ok(relation) => Answer::Relation(relation),
                Err(error) => Answer::Failed(error.to_string()),
            };
            // The receiver is gone when the user left.
            let _ = answers.send(answer).await;
        });
    }

    fn fetch(&mut self, conversation: ConversationId, before: Option<Seq>) {
        let (client, answers) = (self.client.clone(), self.answers.clone());
        self.unanswered += 1;
        tokio::spawn(async move {
            let answer = match page(&client, conversation, before).await {
                Ok((messages, has_more)) => Answer::Page(conversation, messages, has_more),
                Err(error) => Answer::NoPage(conversation, error.to_string()),
            };
            let _ = answers.send(answer).await;
        });
    }
}

/// The page below `before`: from this device if it has it, else from the server.
async fn page(
    client: &Client,
    conversation: ConversationId,
    before: Option<Seq>,
) -> Result<(Vec<Message>, bool), Error> {
    if let Some(before) = before {
        let held = client.messages(conversation, Some(before), PAGE as usize)?;
        let joins = held.last().is_some_and(|newest| newest.conv_seq + 1 == before);
        if joins {
            let has_more = held.first().is_some_and(|oldest| oldest.conv_seq > 1);
            return Ok((held, has_more));
        }
    }
    let range = before.map_or(Range::Latest, Range::Before);
    let page = client.history(conversation, range, PAGE).await?;
    Ok((page.messages, page.more_before))
}

async fn change(
    client: Client,
    name: String,
    peer: Option<UserId>,
    action: RelationAction,
) -> Result<Relation, Error> {
    let peer = match peer {
        Some(peer) => peer,
        None => client.find_user(&name).await?.id,
    };
    client.change_relation(peer, action).await
}
