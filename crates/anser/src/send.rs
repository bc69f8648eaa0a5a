//! `anser send`: puts messages into the account's outbox and waits until they are where they should
//! be. For scripts: what could not be sent now is sent by the next run, exactly once.

mod file;

use std::{
    collections::VecDeque,
    io::{BufRead as _, Read as _},
    path::PathBuf,
    time::Duration,
};

use anser_client::{
    Client, ErrorKind, Event, Events, RelationState, SendHandle, SendState,
    proto::{ConversationId, DeviceId, Seq},
};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    account::Account,
    failure::{Failure, Result},
};

/// Messages of `--lines` that are under way at the same time.
const WINDOW: usize = 64;

/// Options of `anser send`.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    account: Account,
    /// User name of a friend
    #[arg(long, value_name = "NAME")]
    to: String,
    /// Wait until the message is so far
    #[arg(long, value_enum, default_value_t = Receipt::Sent, value_name = "STATE")]
    with_receipt: Receipt,
    /// Wait at most so long for each message
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Each line of standard input is a message
    #[arg(long, conflicts_with = "text")]
    lines: bool,
    /// Send this file instead of a text; an interrupted upload goes on by the next run
    #[arg(long, value_name = "PATH", conflicts_with_all = ["text", "lines"])]
    file: Option<PathBuf>,
    /// One JSON object per message
    #[arg(long)]
    json: bool,
    /// What to say [default: all of standard input]
    text: Option<String>,
}

/// How far a message must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, ValueEnum)]
enum Receipt {
    /// Safe at the server
    Sent,
    /// On a device of the friend
    Delivered,
    /// Read by the friend
    Read,
}

/// Sends and waits.
///
/// # Errors
/// 69: the server can not be reached, and what waits is sent by the next run; 77: refused; 1: there
/// is nothing to send, or a receipt did not come in time.
pub(crate) async fn run(args: &Args) -> Result {
    if args.to == args.account.user {
        return Err(Failure::check("--to is --user: nobody writes to themselves; name a friend"));
    }
    let (client, mut events) = args.account.open("send").await?;
    let ended = match &args.file {
        Some(path) => file::run(args, &client, &mut events, path).await,
        None => send(args, &client, &mut events).await,
    };
    client.shutdown().await;
    ended
}

async fn send(args: &Args, client: &Client, events: &mut Events) -> Result {
    let conversation = friend(args, client).await?;
    let mut texts = read_texts(args);
    let mut sending = Sending {
        args,
        device: client.device(),
        conversation,
        pending: VecDeque::new(),
        deadline: Instant::now() + args.timeout,
        refused: None,
    };
    let mut more = true;
    while more || !sending.pending.is_empty() {
        tokio::select! {
            text = texts.recv(), if more && sending.pending.len() < WINDOW => match text {
                Some(text) => sending.enqueue(client, text?)?,
                None => more = false,
            },
            event = events.next() => match event {
                Some(Event::Closed { code }) => return Err(args.account.ended(code)),
                Some(event) => sending.on_event(&event),
                None => return Err(args.account.ended(None)),
            },
            () = sleep_until(sending.deadline), if !sending.pending.is_empty() => {
                return sending.time_is_up();
            }
        }
        sending.tell_finished();
    }
    sending.refused.map_or(Ok(()), Err)
}

/// The conversation with the friend, as the device knows it or, when it does not, as the server
/// does.
async fn friend(args: &Args, client: &Client) -> Result<ConversationId> {
    if let Some(id) = known_friend(args, client) {
        return Ok(id);
    }
    let online = timeout_at(Instant::now() + args.timeout, client.online()).await;
    if let Some(id) = known_friend(args, client) {
        return Ok(id);
    }
    if !matches!(online, Ok(Ok(()))) {
        let text = format!(
            "the server can not be reached, and this device knows no friend {}: nothing was sent",
            args.to
        );
        return Err(Failure::unavailable(anyhow::Error::msg(text)));
    }
    Err(no_friend(args, client))
}

fn known_friend(args: &Args, client: &Client) -> Option<ConversationId> {
    let relations = client.relations();
    let friend = relations
        .iter()
        .find(|relation| relation.peer_name == args.to && relation.state == RelationState::Friends);
    friend.map(|relation| relation.id)
}

fn no_friend(args: &Args, client: &Client) -> Failure {
    let (user, to) = (&args.account.user, &args.to);
    let relations = client.relations();
    let state = relations.iter().find(|relation| relation.peer_name == *to);
    let text = match state.map(|relation| relation.state) {
        Some(RelationState::Requested) => {
            format!("{to} has not accepted the request of {user} yet; nothing was sent")
        }
        Some(RelationState::Incoming) => format!(
            "{to} asks to be friends; accept with `anser chat --user {user}` and /add {to}; \
             nothing was sent"
        ),
        _ => format!(
            "{user} and {to} are not friends; ask with `anser chat --user {user}` and /add {to}; \
             nothing was sent"
        ),
    };
    Failure::not_allowed(anyhow::Error::msg(text))
}

/// The texts, as they are read. A thread of its own, which does not keep the process alive:
/// standard input may stay open for ever.
fn read_texts(args: &Args) -> mpsc::Receiver<std::io::Result<String>> {
    let (sender, texts) = mpsc::channel(WINDOW);
    let (given, lines) = (args.text.clone(), args.lines);
    std::thread::spawn(move || {
        let input = std::io::stdin().lock();
        let tell = |text| sender.blocking_send(text).is_ok();
        match given {
            Some(text) => {
                tell(Ok(text));
            }
            None if lines => {
                input.lines().all(tell);
            }
            None => {
                let mut text = String::new();
                let mut input = input;
                tell(input.read_to_string(&mut text).map(|_| text.trim_end().to_owned()));
            }
        }
    });
    texts
}

/// What is under way.
struct Sending<'a> {
    args: &'a Args,
    device: DeviceId,
    conversation: ConversationId,
    /// Messages that are not so far yet, oldest first.
    pending: VecDeque<Pending>,
    deadline: Instant,
    /// The first message that the server refused.
    refused: Option<Failure>,
}

struct Pending {
    handle: SendHandle,
    conv_seq: Option<Seq>,
}

impl Sending<'_> {
    fn enqueue(&mut self, client: &Client, text: String) -> Result {
        if text.is_empty() {
            // An empty line among others says nothing; alone it is a mistake.
            let nothing = Failure::check("there is nothing to send: the text is empty");
            return if self.args.lines { Ok(()) } else { Err(nothing) };
        }
        if self.pending.is_empty() {
            self.deadline = Instant::now() + self.args.timeout;
        }
        match client.send(self.conversation, text) {
            Ok(handle) => self.pending.push_back(Pending { handle, conv_seq: None }),
            // The other side ended the friendship since it was looked up.
            Err(error) if error.kind() == ErrorKind::NotFriends => {
                return Err(no_friend(self.args, client));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::NewDevice(device) => self.device = *device,
            Event::Message(message) if message.device == self.device => {
                let mut own = self.pending.iter_mut();
                let found = own.find(|one| one.handle.client_seq() == message.client_seq);
                if let Some(one) = found {
                    one.conv_seq = Some(message.conv_seq);
                }
            }
            Event::Rejected { client_seq, code } => {
                let mut own = self.pending.iter();
                if !own.any(|one| one.handle.client_seq() == *client_seq) {
                    let why = code.map_or("for an unknown reason", |code| code.sentence());
                    eprintln!("anser: a message of an earlier run was refused: {why}");
                }
            }
            _ => {}
        }
    }

    /// Tells and forgets the messages that are where they should be.
    fn tell_finished(&mut self) {
        while let Some(one) = self.pending.front() {
            let state = one.handle.state();
            // ✓ alone is not the end: the entry that follows says whether the server took it.
            let is_there = one.conv_seq.is_some() && is_reached(state, self.args.with_receipt);
            if let SendState::Failed { code } = state {
                let why = code.map_or("for an unknown reason", |code| code.sentence());
                let (user, to) = (&self.args.account.user, &self.args.to);
                let text = format!(
                    "the message to {to} was refused: {why} If you are not friends, ask with \
                     `anser chat --user {user}` and /add {to}"
                );
                self.refused.get_or_insert(Failure::not_allowed(anyhow::Error::msg(text)));
            } else if !is_there {
                return;
            }
            self.tell(one);
            self.pending.pop_front();
            self.deadline = Instant::now() + self.args.timeout;
        }
    }

    fn tell(&self, one: &Pending) {
        let (name, code) = name_of(one.handle.state());
        if self.args.json {
            let line = json!({
                "conversation": self.conversation.to_string(),
                "client_seq": one.handle.client_seq(),
                "conv_seq": one.conv_seq,
                "state": name,
                "code": code,
            });
            println!("{line}");
        } else if let Some(conv_seq) = one.conv_seq {
            println!("{name}: message {conv_seq} to {}", self.args.to);
        } else {
            println!("{name}: a message to {}", self.args.to);
        }
    }

    fn time_is_up(self) -> Result {
        self.pending.iter().for_each(|one| self.tell(one));
        let queued = |one: &&Pending| one.handle.state() == SendState::Queued;
        let waiting = self.pending.iter().filter(queued).count();
        let limit = humantime::format_duration(self.args.timeout);
        if waiting > 0 {
            let text = format!(
                "the server did not take the message within {limit}; in the outbox: {waiting}; \
                 the next run as {} sends it",
                self.args.account.user
            );
            return Err(Failure::unavailable(anyhow::Error::msg(text)));
        }
        if self.args.with_receipt > Receipt::Sent {
            let wanted = format!("{:?}", self.args.with_receipt).to_lowercase();
            return Err(Failure::check(format!("sent, but not {wanted} within {limit}")));
        }
        self.refused.map_or(Ok(()), Err)
    }
}

fn is_reached(state: SendState, wanted: Receipt) -> bool {
    match state {
        SendState::Queued | SendState::Failed { .. } => false,
        SendState::Sent => wanted <= Receipt::Sent,
        SendState::Delivered => wanted <= Receipt::Delivered,
        SendState::Read => true,
    }
}

fn name_of(state: SendState) -> (&'static str, Option<&'static str>) {
    match state {
        SendState::Queued => ("queued", None),
        SendState::Sent => ("sent", None),
        SendState::Delivered => ("delivered", None),
        SendState::Read => ("read", None),
        SendState::Failed { code } => ("failed", code.map(|code| code.name())),
    }
}
