//! `anser chat`: talk to friends, on a full screen or, where there is no terminal, by lines.

mod command;
mod conversation;
mod draw;
mod effects;
mod exchange;
mod file;
mod input;
mod plain;
mod screen;
mod text;
mod view;

use std::{io::IsTerminal as _, time::Duration};

use anser_client::{Client, Event, Events};
use anser_server::clock;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use crate::{
    account::Account,
    failure::{Failure, Result},
};
use effects::Effects;
use exchange::{Answer, Me};
use view::View;

/// A connection that does not close by then is left as it is: all that matters is on the disk.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

/// Options of `anser chat`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    account: Account,
    /// Open the conversation with this friend
    #[arg(long, value_name = "NAME")]
    with: Option<String>,
}

/// Chats until the user leaves.
///
/// # Errors
/// As [`Account::open`]; 77: the session was ended meanwhile; 1: the terminal failed.
pub(crate) async fn run(args: Args) -> Result {
    let (client, events) = args.account.open("chat").await?;
    let chat = Chat::new(client.clone(), events, args.with);
    let on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let ended = if on_terminal { screen::run(chat).await } else { plain::run(chat).await }
        .map_err(broken)?;
    let waiting = client.waiting().iter().filter(|waiting| !waiting.is_sent).count();
    let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, client.shutdown()).await;
    if waiting > 0 {
        eprintln!("Messages that wait in the outbox and go out next time: {waiting}");
    }
    match ended {
        End::Left => Ok(()),
        End::Closed(code) => Err(args.account.ended(code)),
    }
}

/// How a chat ends.
enum End {
    /// The user left.
    Left,
    /// The client will not connect any more.
    Closed(Option<anser_client::proto::Code>),
}

/// What both forms share: the view, and what keeps it in step with the client.
struct Chat {
    view: View,
    effects: Effects,
    events: Events,
    answers: mpsc::Receiver<Answer>,
}

impl Chat {
    fn new(client: Client, events: Events, with: Option<String>) -> Self {
        let me = Me { user: client.user(), name: client.user_name(), device: client.device() };
        let view = View::new(me, TimeZone::system(), with, clock::now_ms());
        let (effects, answers) = Effects::new(client);
        let mut chat = Self { view, effects, events, answers };
        chat.take_over();
        chat
    }

    /// Events came; an empty batch: the client ended.
    fn on_events(&mut self, batch: Vec<Event>) {
        if batch.is_empty() {
            self.view.handle_event(Event::Closed { code: None }, clock::now_ms());
        }
        for event in batch {
            let takes_over =
                matches!(event, Event::Reset | Event::NewDevice(_) | Event::Lagged { .. });
            let caught_up = event == Event::CaughtUp;
            self.view.handle_event(event, clock::now_ms());
            if takes_over || caught_up {
                self.take_over();
            }
        }
    }

    /// Something that took time is done.
    fn on_answer(&mut self, answer: Answer) {
        if !matches!(answer, Answer::Progress(_)) {
            self.effects.on_answer();
        }
        self.view.handle_answer(answer);
    }

    /// Everything that the client knows goes into the view.
    fn take_over(&mut self) {
        match self.effects.known() {
            Ok(known) => self.view.handle_known(known, clock::now_ms()),
            Err(error) => self.view.notice(error.to_string()),
        }
    }

    /// Does what the view asks for. False: the user wants to leave.
    fn perform(&mut self) -> bool {
        loop {
            let asks = self.view.take_asks();
            if asks.is_empty() {
                return true;
            }
            for ask in asks {
                if !self.effects.perform(ask, &mut self.view) {
                    return false;
                }
            }
        }
    }
}

fn broken(error: std::io::Error) -> Failure {
    Failure::from(anyhow::Error::from(error).context("the terminal failed"))
}
