//! The chat on a full screen: the terminal is taken over, and given back whatever happens.

use std::{io, time::Duration};

use anser_client::Event;
use anser_server::clock;
use crossterm::{
    event::{DisableBracketedPaste, EnableBracketedPaste, Event as Typed, EventStream},
    execute,
};
use futures_util::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{Chat, End, draw::draw, view::Answer};

/// The status line tells how long the server is away.
const REFRESH: Duration = Duration::from_secs(1);

/// Everything that can wake the chat.
enum Wake {
    Typed(io::Result<Typed>),
    /// Empty: the client ended.
    Events(Vec<Event>),
    Answer(Answer),
    Refresh,
    Stop,
}

/// Chats until the user leaves.
///
/// # Errors
/// The terminal failed.
pub(super) async fn run(mut chat: Chat) -> io::Result<End> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut refresh = tokio::time::interval(REFRESH);
    let mut terminal = Terminal::take()?;
    let mut typed = EventStream::new();
    loop {
        if !chat.perform() {
            return Ok(End::Left);
        }
        chat.view.take_news();
        if let Some(code) = chat.view.ended() {
            return Ok(End::Closed(code));
        }
        terminal.0.draw(|frame| draw(frame, &mut chat.view, clock::now_ms()))?;
        let mut batch = Vec::new();
        let wake = tokio::select! {
            Some(event) = typed.next() => Wake::Typed(event),
            _ = chat.events.next_batch(&mut batch) => Wake::Events(batch),
            Some(answer) = chat.answers.recv() => Wake::Answer(answer),
            _ = refresh.tick(), if !chat.view.is_online() => Wake::Refresh,
            _ = terminate.recv() => Wake::Stop,
            _ = hang_up.recv() => Wake::Stop,
        };
        match wake {
            Wake::Typed(event) => match event? {
                Typed::Key(key) => chat.view.handle_key(key),
                Typed::Paste(text) => chat.view.handle_paste(&text),
                _ => {}
            },
            Wake::Events(events) => chat.on_events(events),
            Wake::Answer(answer) => chat.view.handle_answer(answer),
            Wake::Refresh => {}
            Wake::Stop => return Ok(End::Left),
        }
    }
}

/// The terminal while it is taken over. Dropping it gives it back; a panic does that first, so that its
/// text can be read.
struct Terminal(ratatui::DefaultTerminal);

impl Terminal {
    fn take() -> io::Result<Self> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = execute!(io::stdout(), DisableBracketedPaste);
            hook(panic);
        }));
        // Its own panic hook comes before the one above.
        let terminal = Self(ratatui::try_init()?);
        execute!(io::stdout(), EnableBracketedPaste)?;
        Ok(terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), DisableBracketedPaste);
        ratatui::restore();
    }
}
