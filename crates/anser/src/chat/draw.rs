//! Draws the view: the list at the left, the shown conversation at the right, below them what there
//! is to tell, the connection, and the line that is being typed.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Position, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};

use super::{
    conversation::{Conversation, Line as Message, Tick},
    text,
    view::View,
};
use anser_client::RelationState;

/// Columns of the list; a screen with fewer than three times as many has none.
const LIST_COLUMNS: u16 = 18;
/// Rows of the screen that notices may take: all of `/help`.
const NOTICE_ROWS_MAX: usize = 12;
/// Rows that notices leave: the conversation's name and newest row, the status and the typed line.
const OTHER_ROWS: usize = 4;
/// Longer names are cut in the list of messages.
const NAME_COLUMNS_MAX: usize = 16;

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const MINE: Style = Style::new().fg(Color::Green);
const THEIRS: Style = Style::new().fg(Color::Yellow);
const READ: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
const WRONG: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const NOTICE: Style = Style::new().fg(Color::Magenta);

/// Draws everything, and tells the view how many rows of messages there are.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View, now_ms: u64) {
    let area = frame.area();
    let notices =
        notices(view, usize::from(area.width), usize::from(area.height).saturating_sub(OTHER_ROWS));
    let notice_rows = u16::try_from(notices.len()).unwrap_or(u16::MAX);
    let [main, told, status, input] = Layout::vertical([
        Constraint::Min(1),
        Constraint::Length(notice_rows),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    let list_columns = if area.width >= 3 * LIST_COLUMNS { LIST_COLUMNS } else { 0 };
    let [list, messages] =
        Layout::horizontal([Constraint::Length(list_columns), Constraint::Min(1)]).areas(main);
    if list_columns > 0 {
        draw_list(frame, view, list);
    }
    draw_messages(frame, view, messages);
    frame.render_widget(Paragraph::new(notices), told);
    draw_status(frame, view, status, now_ms);
    draw_input(frame, view, input);
}

fn notices(view: &View, columns: usize, rows_max: usize) -> Vec<Line<'static>> {
    let wrapped =
        view.notices.iter().chain(&view.progress).flat_map(|notice| text::wrap(notice, columns, 0));
    let mut lines: Vec<_> = wrapped.map(|line| Line::styled(line, NOTICE)).collect();
    let excess = lines.len().saturating_sub(rows_max.min(NOTICE_ROWS_MAX));
    lines.drain(..excess);
    lines
}

fn draw_list(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let columns = usize::from(area.width.saturating_sub(2));
    let mut lines = vec![Line::styled(text::cut(&view.me.name, columns), BOLD)];
    let shown = view.shown().map(|conversation| conversation.id);
    let list = view.list();
    let rows = usize::from(area.height).saturating_sub(1).max(1);
    let at = list.iter().position(|conversation| Some(conversation.id) == shown).unwrap_or(0);
    for conversation in list.iter().skip((at + 1).saturating_sub(rows)).take(rows) {
        lines.push(entry(conversation, Some(conversation.id) == shown, columns));
    }
    let block = Block::new().borders(Borders::RIGHT).border_style(DIM);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// One line of the list: who, and what is new or missing.
fn entry(conversation: &Conversation, is_shown: bool, columns: usize) -> Line<'static> {
    let (mark, style) = match (conversation.state, conversation.unread()) {
        (RelationState::Incoming, _) => ("asks you".to_owned(), NOTICE),
        (RelationState::Requested, _) => ("asked".to_owned(), DIM),
        (RelationState::Friends, 0) => (String::new(), Style::new()),
        (RelationState::Friends, unread) => (unread.min(99).to_string(), BOLD),
        (RelationState::Blocked, _) => ("blocked".to_owned(), DIM),
        _ => ("ended".to_owned(), DIM),
    };
    let pointer = if is_shown { "> " } else { "  " };
    let room = columns.saturating_sub(text::width(&mark) + usize::from(!mark.is_empty()) + 2);
    let name = text::cut(&conversation.name, room);
    let gap = " ".repeat(columns.saturating_sub(2 + text::width(&name) + text::width(&mark)));
    let name_style = if is_shown { style.patch(BOLD) } else { style };
    Line::from(vec![
        Span::styled(format!("{pointer}{name}"), name_style),
        Span::raw(gap),
        Span::styled(mark, style),
    ])
}

fn draw_messages(frame: &mut Frame<'_>, view: &mut View, area: Rect) {
    let [header, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let rows = usize::from(body.height);
    let Some(conversation) = view.shown() else {
        view.page = (rows, false);
        return draw_empty(frame, view, body);
    };
    let columns = usize::from(body.width).saturating_sub(1);
    let (mut lines, is_at_top) = lines(view, conversation, columns, rows + view.scroll);
    let scroll = view.scroll.min(lines.len().saturating_sub(rows));
    let below = if scroll > 0 { " (PageDown for newer)" } else { "" };
    let title = format!(" {}{below}", text::cut(&conversation.name, columns));
    frame.render_widget(Line::styled(title, BOLD), header);
    lines.drain(..scroll);
    lines.truncate(rows);
    lines.reverse();
    let top = body.height.saturating_sub(u16::try_from(lines.len()).unwrap_or(u16::MAX));
    let inner = Rect { x: body.x + 1, width: body.width.saturating_sub(1), ..body };
    let inner = Rect { y: inner.y + top, height: inner.height - top, ..inner };
    frame.render_widget(Paragraph::new(lines), inner);
    view.scroll = scroll;
    view.page = (rows, is_at_top);
}

/// The newest rows of a conversation, newest first, at least `wanted` if there are so many, and
/// whether these are all.
fn lines(
    view: &View,
    conversation: &Conversation,
    columns: usize,
    wanted: usize,
) -> (Vec<Line<'static>>, bool) {
    let mut rows = Vec::new();
    let messages = conversation.lines();
    for (index, message) in messages.iter().enumerate() {
        let tick = message.tick.is_some();
        let name = if tick { &view.me.name } else { &conversation.name };
        let time = text::time(message.at_ms, &view.zone);
        rows.extend(message_rows(message, &time, name, columns).into_iter().rev());
        let day = text::day(message.at_ms, &view.zone);
        let before = messages.get(index + 1).map(|before| text::day(before.at_ms, &view.zone));
        if before.as_ref() != Some(&day) {
            rows.push(Line::styled(day, DIM).centered());
        }
        if rows.len() > wanted {
            return (rows, false);
        }
    }
    if conversation.is_fetching {
        rows.push(Line::styled("…", DIM).centered());
    }
    (rows, true)
}

/// The rows of one message, from its first: time, name and text, for own ones the tick.
fn message_rows(
    message: &Message<'_>,
    time: &str,
    name: &str,
    columns: usize,
) -> Vec<Line<'static>> {
    let name = text::cut(name, NAME_COLUMNS_MAX.min(columns / 3));
    let prefix = format!("{time} {name}: ");
    let indent = text::width(time) + 1;
    // Room for the tick at the end of each line: where the text ends is not known before.
    let tick_columns = if message.tick.is_some() { 3 } else { 0 };
    let room = columns.saturating_sub(indent + tick_columns);
    let first = text::width(&prefix) - indent;
    let style = if message.tick.is_some() { MINE } else { THEIRS };
    let mut rows = Vec::new();
    for (index, line) in text::wrap(message.text, room, first).into_iter().enumerate() {
        rows.push(if index == 0 {
            Line::from(vec![
                Span::styled(format!("{time} "), DIM),
                Span::styled(format!("{name}: "), style),
                Span::raw(line),
            ])
        } else {
            Line::from(vec![Span::raw(" ".repeat(indent)), Span::raw(line)])
        });
    }
    if let (Some(tick), Some(last)) = (&message.tick, rows.last_mut()) {
        let style = match tick {
            Tick::Read => READ,
            Tick::Failed(_) => WRONG,
            _ => DIM,
        };
        last.push_span(Span::styled(format!(" {}", tick.sign()), style));
        if let Some(why) = tick.why() {
            let why = text::wrap(&format!("not sent: {why}"), columns - indent.min(columns), 0);
            let why = why.into_iter().map(|line| format!("{}{line}", " ".repeat(indent)));
            rows.extend(why.map(|line| Line::styled(line, WRONG)));
        }
    }
    rows
}

/// What to type when no conversation is open.
fn draw_empty(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let columns = usize::from(area.width).saturating_sub(2);
    let advice = if view.list().is_empty() {
        format!(
            "Welcome, {}.\n\nType /add NAME and Enter to ask somebody to become friends.\n\
             They see it and type /accept {}; then you talk.\n\n\
             /help lists what else you can type.",
            view.me.name, view.me.name
        )
    } else {
        "Tab opens the first conversation of the list.\n\n/help lists what you can type.".to_owned()
    };
    let lines: Vec<_> = text::wrap(&advice, columns, 0).into_iter().map(Line::from).collect();
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(1), ..area };
    frame.render_widget(Paragraph::new(lines), inner);
}

fn draw_status(frame: &mut Frame<'_>, view: &View, area: Rect, now_ms: u64) {
    let (sign, colour) = if view.is_online() { ("●", Color::Green) } else { ("○", Color::Red) };
    let bar = Style::new().add_modifier(Modifier::REVERSED);
    let columns = usize::from(area.width);
    let state = text::cut(&view.connection(now_ms), columns.saturating_sub(3));
    let help = "/help ";
    let taken = 3 + text::width(&state);
    let gap = columns.saturating_sub(taken + help.len());
    let mut spans =
        vec![Span::styled(format!(" {sign} "), bar.fg(colour)), Span::styled(state, bar)];
    if gap > 0 {
        spans.push(Span::styled(" ".repeat(gap), bar));
        spans.push(Span::styled(help, bar));
    } else {
        spans.push(Span::styled(" ".repeat(columns.saturating_sub(taken)), bar));
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_input(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let columns = usize::from(area.width).saturating_sub(2);
    let (shown, cursor) = view.input.visible(columns);
    let line = Line::from(vec![Span::styled("> ", BOLD), Span::raw(shown)]);
    frame.render_widget(line, area);
    let column = u16::try_from(cursor).unwrap_or(u16::MAX).saturating_add(2);
    frame.set_cursor_position(Position::new(area.x.saturating_add(column), area.y));
}
