//! The chat by lines: each line of standard input is a text or a command, each line of standard output
//! a message, a tick or a sentence. For pipes, tests and terminals that can do no more.

use std::io::{self, BufRead as _, Write as _};

use anser_client::{Event, proto::ConversationId};
use tokio::sync::mpsc;

use super::{
    Chat, End,
    conversation::Conversation,
    text::{self, time},
    view::{Answer, News, View},
};

/// Messages that are shown of a conversation that is opened.
const HISTORY: usize = 20;
/// Columns of a text in the line that tells its tick.
const TICK_COLUMNS: usize = 60;
/// Lines that may wait to be read.
const LINES_MAX: usize = 64;

/// Everything that can wake the chat.
enum Wake {
    /// `None`: the input ended.
    Line(Option<String>),
    /// Empty: the client ended.
    Events(Vec<Event>),
    Answer(Answer),
}

/// Chats until the input ends or `/quit`. What was typed before is sent first, if the server is there.
///
/// # Errors
/// The output can not be written.
pub(super) async fn run(mut chat: Chat) -> io::Result<End> {
    let mut lines = lines();
    let mut input_ended = false;
    let mut shown = None;
    loop {
        if !chat.perform() {
            break;
        }
        write(&mut chat.view, &mut shown)?;
        if let Some(code) = chat.view.ended() {
            return Ok(End::Closed(code));
        }
        if input_ended && !(chat.view.is_online() && chat.view.is_sending()) {
            break;
        }
        let mut batch = Vec::new();
        let wake = tokio::select! {
            line = lines.recv(), if !input_ended => Wake::Line(line),
            _ = chat.events.next_batch(&mut batch) => Wake::Events(batch),
            Some(answer) = chat.answers.recv() => Wake::Answer(answer),
        };
        match wake {
            Wake::Line(Some(line)) => chat.view.handle_line(&line),
            Wake::Line(None) => input_ended = true,
            Wake::Events(events) => chat.on_events(events),
            Wake::Answer(answer) => chat.view.handle_answer(answer),
        }
    }
    write(&mut chat.view, &mut shown)?;
    Ok(End::Left)
}

/// Standard input by lines. Read by a thread of its own: a read can not be interrupted, and the
/// process must be able to end meanwhile.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Writes what is new. A conversation that was opened since the last time is told first.
fn write(view: &mut View, shown: &mut Option<ConversationId>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let opened = view.shown().filter(|conversation| Some(conversation.id) != *shown);
    let opened_id = opened.map(|conversation| conversation.id);
    if let Some(conversation) = opened {
        write_history(view, conversation, &mut out)?;
    }
    *shown = opened_id.or(*shown);
    for news in view.take_news() {
        match news {
            // It is among the history that was written right above.
            News::Message { conversation, .. } if opened_id == Some(conversation) => {}
            News::Message { at_ms, name, text, .. } => {
                writeln!(out, "[{}] {name}: {}", time(at_ms, &view.zone), indented(&text))?;
            }
            News::Tick(tick, text) => {
                let why = tick.why().map(|why| format!(" ({why})")).unwrap_or_default();
                let text = text::cut(&text.replace('\n', " "), TICK_COLUMNS);
                writeln!(out, "{} {}: {text}{why}", tick.sign(), tick.word())?;
            }
            News::Notice(text) => writeln!(out, "* {}", indented(&text))?,
        }
    }
    view.notices.clear();
    out.flush()
}

fn write_history(
    view: &View,
    conversation: &Conversation,
    out: &mut impl io::Write,
) -> io::Result<()> {
    writeln!(out, "* with {}", conversation.name)?;
    let lines = conversation.lines();
    for line in lines.iter().take(HISTORY).rev() {
        let name = if line.tick.is_some() { &view.me.name } else { &conversation.name };
        let tick = line.tick.as_ref().map(|tick| format!(" {}", tick.sign())).unwrap_or_default();
        let (time, text) = (time(line.at_ms, &view.zone), indented(line.text));
        writeln!(out, "[{time}] {name}: {text}{tick}")?;
    }
    Ok(())
}

/// Lines of one message that follow its first are set off, so that none looks like a message.
fn indented(text: &str) -> String {
    text.replace('\n', "\n    ")
}
