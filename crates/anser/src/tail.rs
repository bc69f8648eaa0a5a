//! `anser tail`: prints messages as they come, for people and scripts.
//!
//! What holds: the SDK stores a message and its position in one transaction, acks it, and only then
//! tells the event. So an event alone could be lost when the process dies between the two. The
//! message is in the device's storage then, and `tail` remembers what it has printed in a file of
//! its own: a new run first prints what is stored and was not printed, also what `send` or `chat`
//! received in between. A message is therefore printed at least once per device: twice only when
//! the process dies between printing and noting it. Receipts and relation changes are states, not
//! messages: they are told while `tail` runs and the newest of them replaces the older ones.
//!
//! That a message was delivered means that this device stored it, not that somebody saw it: `tail`
//! marks nothing as read.

mod cursor;
mod line;

use std::{io::Write as _, path::PathBuf};

use anser_client::{
    Client, Content, ErrorKind, Event, Events, Message,
    proto::{Code, ConversationId, Seq},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use crate::{
    account::Account,
    failure::{Failure, Result},
    files,
};
use cursor::Cursor;

/// Messages that are read from the storage at once.
const PAGE: usize = 256;

/// Options of `anser tail`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    account: Account,
    /// One JSON object per line; also receipts, relations and what happens to the connection
    #[arg(long)]
    json: bool,
    /// Save files that others send in this folder, as SENDER-NUMBER-NAME
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Begin with the first message that this device holds, not with the first one not printed yet
    #[arg(long)]
    since_start: bool,
    /// End when everything that waited on the server was printed
    #[arg(long)]
    until_caught_up: bool,
}

/// Prints until SIGTERM, Ctrl-C or the end of whoever reads.
///
/// # Errors
/// 69 and 77 as for every login; 77: the session was ended.
pub(crate) async fn run(args: &Args) -> Result {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (client, mut events) = args.account.open("tail").await?;
    let mut cursor = Cursor::open(&args.account.folder()?)?;
    if args.since_start {
        cursor.rewind();
    }
    let mut tail = Tail { args, client, cursor, printer: Printer::start(), was_reset: false };
    let ended = tokio::select! {
        ended = tail.print_all(&mut events) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    tail.cursor.save()?;
    tail.client.shutdown().await;
    match ended {
        Ok(()) | Err(Stop::NobodyReads) => Ok(()),
        Err(Stop::Closed(code)) => Err(args.account.ended(code)),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// Result of printing.
type Printed = std::result::Result<(), Stop>;

/// Why printing can not go on.
enum Stop {
    /// Standard output is closed.
    NobodyReads,
    /// The client will not connect again.
    Closed(Option<Code>),
    /// The storage or the disk.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Tail<'a> {
    args: &'a Args,
    client: Client,
    cursor: Cursor,
    printer: Printer,
    /// Numbers may begin anew: what an event brings is printed whatever was printed before.
    was_reset: bool,
}

impl Tail<'_> {
    async fn print_all(&mut self, events: &mut Events) -> Printed {
        self.print_stored().await?;
        let mut batch = Vec::new();
        while events.next_batch(&mut batch).await {
            for event in batch.drain(..) {
                self.on_event(&event).await?;
                if event == Event::CaughtUp && self.args.until_caught_up {
                    return Ok(());
                }
            }
            self.cursor.save()?;
        }
        Err(Stop::Closed(None))
    }

    async fn on_event(&mut self, event: &Event) -> Printed {
        match event {
            Event::Message(message) => return self.on_message(message).await,
            Event::Closed { code } => return Err(Stop::Closed(*code)),
            Event::Reset => self.was_reset = true,
            // The messages among what was missed are in the storage.
            Event::Lagged { .. } => self.print_stored().await?,
            _ => {}
        }
        match line::other(event).filter(|_| self.args.json) {
            Some(line) => self.printer.print(line.to_string()).await,
            None => Ok(()),
        }
    }

    async fn on_message(&mut self, message: &Message) -> Printed {
        let printed = self.cursor.printed(message.conversation);
        if message.conv_seq > printed || self.was_reset {
            self.print(message).await?;
        }
        Ok(())
    }

    /// Prints what the device holds and was not printed, one conversation after the other.
    async fn print_stored(&mut self) -> Printed {
        for relation in self.client.relations() {
            self.print_conversation(relation.id).await?;
        }
        Ok(())
    }

    async fn print_conversation(&mut self, conversation: ConversationId) -> Printed {
        let printed = self.cursor.printed(conversation);
        // The storage gives the newest first: go back to what was printed, then print forward.
        let mut pages = Vec::new();
        let mut before = Seq::MAX;
        loop {
            let mut page = self.client.messages(conversation, Some(before), PAGE)?;
            let is_last = page.len() < PAGE;
            page.retain(|message| message.conv_seq > printed);
            let Some(first) = page.first() else { break };
            before = first.conv_seq;
            pages.push(page);
            if is_last {
                break;
            }
        }
        for message in pages.iter().rev().flatten() {
            self.print(message).await?;
        }
        self.cursor.save()?;
        Ok(())
    }

    async fn print(&mut self, message: &Message) -> Printed {
        // One's own messages, from here or another device, are no news.
        if message.sender != self.client.user() {
            let from = self.name(message);
            let saved = self.save(&from, message).await?;
            let line = match self.args.json {
                true => {
                    let mut line = line::message(&from, message);
                    if let Some(saved) = saved {
                        line["saved"] = saved;
                    }
                    line.to_string()
                }
                false => line::text(&from, message),
            };
            self.printer.print(line).await?;
        }
        self.cursor.set(message.conversation, message.conv_seq);
        Ok(())
    }

    /// Saves a message's file if that is asked for. Gives its path, or null where the server does
    /// not have it or it is damaged: the message is printed all the same. What a message was saved
    /// as is told by its number, so a second run finds it there.
    async fn save(
        &self,
        from: &str,
        message: &Message,
    ) -> std::result::Result<Option<serde_json::Value>, Stop> {
        let (Some(folder), Content::File(file)) = (&self.args.save, &message.content) else {
            return Ok(None);
        };
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{from}-{}-{}", message.conv_seq, file.name));
        if !path.exists() {
            let bar = files::bar(file.size);
            let saved = self.client.save(file, &path, |written| bar.set_position(written)).await;
            bar.finish_and_clear();
            match saved {
                Ok(()) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::Refused(_) | ErrorKind::Damaged) =>
                {
                    eprintln!("anser: message {} from {from}: {error}", message.conv_seq);
                    return Ok(Some(serde_json::Value::Null));
                }
                // The next run begins with this message.
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(path.display().to_string().into()))
    }

    fn name(&self, message: &Message) -> String {
        let relations = self.client.relations();
        let known = relations.iter().find(|relation| relation.peer == message.sender);
        known.map_or_else(|| message.sender.to_string(), |relation| relation.peer_name.clone())
    }
}

/// Writes lines to standard output in a thread of its own: a reader that stops reading keeps
/// neither the connection nor the end of the process waiting.
struct Printer(mpsc::Sender<(String, oneshot::Sender<bool>)>);

impl Printer {
    fn start() -> Self {
        let (sender, mut lines) = mpsc::channel::<(String, oneshot::Sender<bool>)>(1);
        std::thread::spawn(move || {
            while let Some((line, done)) = lines.blocking_recv() {
                let mut output = std::io::stdout().lock();
                let written = writeln!(output, "{line}").and_then(|()| output.flush());
                // Nobody waits for the answer any more: a signal came.
                let _ = done.send(written.is_ok());
            }
        });
        Self(sender)
    }

    /// Returns once the line is out.
    async fn print(&self, line: String) -> Printed {
        let (done, written) = oneshot::channel();
        self.0.send((line, done)).await.map_err(|_| Stop::NobodyReads)?;
        if written.await.unwrap_or(false) { Ok(()) } else { Err(Stop::NobodyReads) }
    }
}
