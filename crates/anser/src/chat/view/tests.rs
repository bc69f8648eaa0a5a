use anser_client::Content;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend, style::Color};

use super::*;
use crate::chat::draw::draw;

const ALICE: UserId = UserId(1);
const BOB: UserId = UserId(2);
const HERE: DeviceId = DeviceId(11);
const ELSEWHERE: DeviceId = DeviceId(12);
const WITH_BOB: ConversationId = ConversationId(21);
const WITH_CAROL: ConversationId = ConversationId(22);
/// 2026-05-28 20:26:40 UTC.
const NOW_MS: u64 = 1_780_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn relation(id: ConversationId, name: &str, state: RelationState) -> Relation {
    let peer = if id == WITH_BOB { BOB } else { UserId(3) };
    Relation { id, peer, peer_name: name.into(), state }
}

fn message(conv_seq: Seq, sender: UserId, text: &str) -> Message {
    Message {
        conversation: WITH_BOB,
        conv_seq,
        sender,
        device: if sender == ALICE { HERE } else { DeviceId(13) },
        client_seq: conv_seq,
        created_at_ms: NOW_MS,
        content: Content::Text(text.into()),
    }
}

/// Alice's chat before it knows anybody.
fn alone(with: Option<&str>) -> View {
    let me = Me { user: ALICE, name: "alice".into(), device: HERE };
    View::new(me, TimeZone::UTC, with.map(str::to_owned), NOW_MS)
}

/// Alice's chat with one friend, connected, everything so far told.
fn with_bob() -> View {
    let mut view = alone(None);
    let bob = relation(WITH_BOB, "bob", RelationState::Friends);
    let relations = vec![(bob, Watermarks::default(), Vec::new())];
    view.handle_known(Known { relations, ..Known::default() }, NOW_MS);
    online(&mut view);
    assert_eq!(view.take_asks(), [Ask::Older(WITH_BOB, None)], "a short history is looked up");
    view.handle_answer(Answer::Page(WITH_BOB, Vec::new(), true));
    forget(&mut view);
    view
}

fn online(view: &mut View) {
    let state = ConnectionState { socket_healthy: true, device_online: true };
    view.handle_event(Event::State(state), NOW_MS);
}

fn forget(view: &mut View) {
    view.take_asks();
    view.take_news();
    view.notices.clear();
}

fn receipt(delivered: Seq, read: Seq) -> Event {
    Event::Receipt { conversation: WITH_BOB, user: BOB, delivered, read }
}

fn ticks(view: &View) -> Vec<(String, &'static str, &'static str)> {
    let shown = view.shown().expect("a conversation");
    let lines = shown.lines().into_iter().rev();
    lines
        .filter_map(|line| {
            let tick = line.tick?;
            Some((line.text.to_owned(), tick.sign(), tick.word()))
        })
        .collect()
}

/// What a terminal of that size shows, by rows.
fn screen(view: &mut View, columns: u16, rows: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, view, NOW_MS)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let row = |y| {
        let mut skip = 0;
        let mut text = String::new();
        for x in 0..columns {
            let symbol = buffer[(x, y)].symbol();
            if skip == 0 {
                text.push_str(symbol);
                skip = text::width(symbol);
            }
            skip = skip.saturating_sub(1);
        }
        text.trim_end().to_owned()
    };
    (0..rows).map(row).collect()
}

fn press(view: &mut View, code: KeyCode, modifiers: KeyModifiers) {
    view.handle_key(KeyEvent::new(code, modifiers));
}

fn type_line(view: &mut View, line: &str) {
    for c in line.chars() {
        press(view, KeyCode::Char(c), KeyModifiers::NONE);
    }
    press(view, KeyCode::Enter, KeyModifiers::NONE);
}

#[test]
fn a_message_goes_through_all_ticks() {
    let mut view = with_bob();
    type_line(&mut view, "hello");
    assert_eq!(view.take_asks(), [Ask::Send(WITH_BOB, "hello".into())]);
    view.handle_queued(WITH_BOB, 1, "hello", NOW_MS);
    assert_eq!(ticks(&view), [("hello".into(), "…", "waits")]);
    assert_eq!(view.connection(NOW_MS), "connected · 1 message waits");
    view.handle_event(Event::Sent { client_seq: 1 }, NOW_MS);
    assert_eq!(ticks(&view), [("hello".into(), "✓", "sent")]);
    assert_eq!(view.connection(NOW_MS), "connected");
    view.handle_event(Event::Message(message(1, ALICE, "hello")), NOW_MS);
    assert_eq!(ticks(&view), [("hello".into(), "✓", "sent")]);
    view.handle_event(receipt(1, 0), NOW_MS);
    assert_eq!(ticks(&view), [("hello".into(), "✓✓", "delivered")]);
    view.handle_event(receipt(1, 1), NOW_MS);
    assert_eq!(ticks(&view), [("hello".into(), "✓✓", "read")]);
    let told = |tick| News::Tick(tick, "hello".into());
    let expected = [told(Tick::Sent), told(Tick::Delivered), told(Tick::Read)];
    assert_eq!(view.take_news(), expected);
}

#[test]
fn a_receipt_tells_only_what_it_covers() {
    let mut view = with_bob();
    for (seq, text) in [(1, "one"), (2, "two"), (3, "three")] {
        view.handle_queued(WITH_BOB, seq, text, NOW_MS);
        view.handle_event(Event::Message(message(seq, ALICE, text)), NOW_MS);
    }
    view.handle_event(receipt(2, 1), NOW_MS);
    let signs: Vec<_> = ticks(&view).into_iter().map(|(.., word)| word).collect();
    assert_eq!(signs, ["read", "delivered", "sent"]);
}

#[test]
fn a_refused_message_stays_where_it_was_and_says_why() {
    let mut view = with_bob();
    view.handle_queued(WITH_BOB, 1, "refused", NOW_MS);
    view.handle_event(Event::Rejected { client_seq: 1, code: Some(Code::NotMember) }, NOW_MS);
    view.handle_event(Event::Message(message(1, BOB, "later")), NOW_MS);
    let shown: Vec<_> =
        view.shown().unwrap().lines().iter().map(|line| line.text.to_owned()).collect();
    assert_eq!(shown, ["later", "refused"]);
    assert_eq!(ticks(&view), [("refused".into(), "!", "not sent")]);
    let rows = screen(&mut view, 80, 12).join("\n");
    assert!(rows.contains("refused !") && rows.contains(Code::NotMember.sentence()), "{rows}");
}

#[test]
fn what_waits_on_the_disk_is_shown_at_the_start() {
    let mut view = alone(None);
    let bob = relation(WITH_BOB, "bob", RelationState::Friends);
    let relations = vec![(bob, Watermarks::default(), vec![message(1, BOB, "hi")])];
    let waiting = |client_seq, text: &str, is_sent| Waiting {
        client_seq,
        conversation: WITH_BOB,
        content: Content::Text(text.into()),
        is_sent,
    };
    let waiting = vec![waiting(4, "on its way", true), waiting(5, "typed offline", false)];
    view.handle_known(Known { relations, waiting }, NOW_MS);
    let expected = [("on its way".into(), "✓", "sent"), ("typed offline".into(), "…", "waits")];
    assert_eq!(ticks(&view), expected);
}

#[test]
fn a_new_device_gives_new_numbers_to_what_waits() {
    let mut view = with_bob();
    view.handle_queued(WITH_BOB, 7, "waits", NOW_MS);
    view.handle_event(Event::NewDevice(ELSEWHERE), NOW_MS);
    let waits = Waiting {
        client_seq: 1,
        conversation: WITH_BOB,
        content: Content::Text("waits".into()),
        is_sent: false,
    };
    view.handle_known(Known { relations: Vec::new(), waiting: vec![waits] }, NOW_MS + DAY_MS);
    assert_eq!(ticks(&view), [("waits".into(), "…", "waits")]);
    assert_eq!(view.shown().unwrap().lines()[0].at_ms, NOW_MS, "the time it was typed");
    let mine = Message { device: ELSEWHERE, client_seq: 1, ..message(1, ALICE, "waits") };
    view.handle_event(Event::Message(mine), NOW_MS);
    assert_eq!(ticks(&view), [("waits".into(), "✓", "sent")]);
}

#[test]
fn an_own_message_of_another_device_is_no_message_of_this_one() {
    let mut view = with_bob();
    view.handle_queued(WITH_BOB, 1, "typed here", NOW_MS);
    let other = Message { device: ELSEWHERE, client_seq: 1, ..message(1, ALICE, "typed there") };
    view.handle_event(Event::Message(other), NOW_MS);
    let shown: Vec<_> = ticks(&view).into_iter().map(|(text, sign, _)| (text, sign)).collect();
    assert_eq!(shown, [("typed there".into(), "✓"), ("typed here".into(), "…")]);
}

#[test]
fn what_is_shown_is_read_and_the_rest_is_counted() {
    let mut view = with_bob();
    let carol = relation(WITH_CAROL, "carol", RelationState::Friends);
    view.handle_event(Event::Relation(carol), NOW_MS);
    forget(&mut view);
    view.handle_event(Event::Message(message(1, BOB, "one")), NOW_MS);
    assert_eq!(view.take_asks(), [Ask::MarkRead(WITH_BOB, 1)]);
    view.handle_event(Event::Message(message(1, BOB, "one")), NOW_MS);
    assert_eq!(view.take_asks(), [], "once is enough");
    for seq in [1, 2] {
        let to_carol =
            Message { conversation: WITH_CAROL, sender: UserId(3), ..message(seq, BOB, "x") };
        view.handle_event(Event::Message(to_carol), NOW_MS);
    }
    assert_eq!(view.take_asks(), []);
    let unread: Vec<_> =
        view.list().iter().map(|some| (some.name.clone(), some.unread())).collect();
    assert_eq!(unread, [("bob".into(), 0), ("carol".into(), 2)]);
    let rows = screen(&mut view, 60, 8);
    assert!(rows[2].contains("carol        2"), "{rows:#?}");
    press(&mut view, KeyCode::Tab, KeyModifiers::NONE);
    assert!(view.take_asks().contains(&Ask::MarkRead(WITH_CAROL, 2)));
    press(&mut view, KeyCode::Char('p'), KeyModifiers::CONTROL);
    assert_eq!(view.shown().unwrap().name, "bob");
    view.handle_event(Event::ReadMark { conversation: WITH_CAROL, read: 2 }, NOW_MS);
    assert_eq!(view.list()[1].unread(), 0);
}

#[test]
fn friends_are_made_by_typing() {
    let mut view = alone(None);
    view.handle_known(Known::default(), NOW_MS);
    assert!(
        screen(&mut view, 60, 15).join(" ").contains("/add NAME"),
        "an empty screen says what to type"
    );
    forget(&mut view);
    type_line(&mut view, "/add bob");
    assert_eq!(view.take_asks(), [Ask::Befriend("bob".into())]);
    view.handle_answer(Answer::Relation(relation(WITH_BOB, "bob", RelationState::Requested)));
    assert_eq!(view.notices, ["bob was asked and can type: /accept alice"]);
    view.handle_event(Event::Relation(relation(WITH_BOB, "bob", RelationState::Requested)), NOW_MS);
    assert_eq!(view.notices.len(), 1, "told once");
    type_line(&mut view, "hello");
    assert_eq!(view.take_asks(), [], "nothing is sent before");
    view.handle_event(Event::Relation(relation(WITH_BOB, "bob", RelationState::Friends)), NOW_MS);
    assert_eq!(view.shown().map(|shown| &shown.name[..]), Some("bob"), "the only friend is opened");
    press(&mut view, KeyCode::Enter, KeyModifiers::NONE);
    assert_eq!(
        view.take_asks(),
        [Ask::Send(WITH_BOB, "hello".into())],
        "what was typed is not lost"
    );
}

#[test]
fn a_request_is_told_and_accepted() {
    let mut view = alone(None);
    view.handle_known(Known::default(), NOW_MS);
    forget(&mut view);
    view.handle_event(Event::Relation(relation(WITH_BOB, "bob", RelationState::Incoming)), NOW_MS);
    let told = "bob wants to be your friend: /accept bob (or /decline bob)";
    assert_eq!(view.take_news(), [News::Notice(told.into())]);
    let rows = screen(&mut view, 70, 8).join("\n");
    assert!(rows.contains("bob   asks you") && rows.contains(told), "{rows}");
    type_line(&mut view, "/accept carol");
    assert_eq!(view.take_asks(), []);
    assert_eq!(view.notices, ["carol did not ask you; /add carol asks."]);
    type_line(&mut view, "/accept bob");
    assert_eq!(view.take_asks(), [Ask::Change("bob".into(), Some(BOB), RelationAction::Accept)]);
    view.handle_answer(Answer::Relation(relation(WITH_BOB, "bob", RelationState::Friends)));
    type_line(&mut view, "/block dave");
    assert_eq!(view.take_asks(), [Ask::Change("dave".into(), None, RelationAction::Block)]);
}

#[test]
fn a_conversation_that_was_asked_for_opens_when_there_is_one() {
    let mut view = alone(Some("carol"));
    let bob = relation(WITH_BOB, "bob", RelationState::Friends);
    let relations = vec![(bob, Watermarks::default(), Vec::new())];
    view.handle_known(Known { relations, ..Known::default() }, NOW_MS);
    assert_eq!(view.notices, ["You and carol are not friends yet: /add carol"]);
    view.handle_event(
        Event::Relation(relation(WITH_CAROL, "carol", RelationState::Friends)),
        NOW_MS,
    );
    assert_eq!(view.shown().unwrap().name, "carol");
}

#[test]
fn the_status_tells_how_the_connection_is() {
    let mut view = alone(None);
    assert_eq!(view.connection(NOW_MS), "connecting");
    assert_eq!(view.connection(NOW_MS + OFFLINE_AFTER_MS), "offline, trying again");
    online(&mut view);
    assert_eq!(view.connection(NOW_MS), "connected");
    view.handle_event(Event::State(ConnectionState::default()), NOW_MS);
    assert_eq!(view.connection(NOW_MS), "reconnecting");
    let state = ConnectionState { socket_healthy: true, device_online: false };
    view.handle_event(Event::State(state), NOW_MS);
    assert_eq!(view.connection(NOW_MS), "catching up");
    view.handle_event(Event::Closed { code: Some(Code::Unauthenticated) }, NOW_MS);
    assert_eq!(view.ended(), Some(Some(Code::Unauthenticated)));
}

#[test]
fn the_screen_shows_days_names_ticks_and_the_typed_line() {
    let mut view = with_bob();
    let early = Message { created_at_ms: NOW_MS - DAY_MS, ..message(1, BOB, "good night") };
    view.handle_event(Event::Message(early), NOW_MS);
    view.handle_queued(WITH_BOB, 2, "good morning 鸿雁", NOW_MS);
    view.handle_event(Event::Message(message(2, ALICE, "good morning 鸿雁")), NOW_MS);
    view.handle_event(receipt(2, 0), NOW_MS);
    "typ鸿".chars().for_each(|c| press(&mut view, KeyCode::Char(c), KeyModifiers::NONE));
    let expected = [
        "alice            │ bob",
        "> bob            │",
        "                 │          Wednesday, 27 May 2026",
        "                 │ 20:26 bob: good night",
        "                 │           Thursday, 28 May 2026",
        "                 │ 20:26 alice: good morning 鸿雁 ✓✓",
        " ● connected                                          /help",
        "> typ鸿",
    ];
    assert_eq!(screen(&mut view, 60, 8), expected);
    let narrow = screen(&mut view, 20, 8);
    assert_eq!(narrow[5..], ["       雁 ✓✓", " ● connected  /help", "> typ鸿"], "{narrow:#?}");
}

#[test]
fn only_read_ticks_are_coloured() {
    let mut view = with_bob();
    view.handle_event(Event::Message(message(1, ALICE, "one")), NOW_MS);
    let mut colour_after = |event| {
        view.handle_event(event, NOW_MS);
        let mut terminal = Terminal::new(TestBackend::new(60, 8)).unwrap();
        terminal.draw(|frame| draw(frame, &mut view, NOW_MS)).unwrap();
        let buffer = terminal.backend().buffer();
        let tick = buffer.content().iter().rev().find(|cell| cell.symbol() == "✓");
        tick.expect("a tick").fg
    };
    assert_eq!(colour_after(receipt(1, 0)), Color::Reset);
    assert_eq!(colour_after(receipt(1, 1)), Color::Cyan);
}

#[test]
fn nothing_of_others_controls_the_terminal() {
    let mut view = with_bob();
    view.handle_event(Event::Message(message(1, BOB, "a\u{1b}[2Jb\u{9b}c\u{7}")), NOW_MS);
    let evil = relation(WITH_CAROL, "ca\u{1b}rol", RelationState::Incoming);
    view.handle_event(Event::Relation(evil), NOW_MS);
    view.handle_answer(Answer::Failed("no\u{1b}[1m".into()));
    let news = format!("{:?}", view.take_news());
    assert!(!news.contains("\\u{1b}") && !news.contains("\\u{9b}"), "{news}");
    let rows = screen(&mut view, 60, 12).concat();
    assert!(!rows.chars().any(char::is_control), "{rows:?}");
    assert!(rows.contains("a\u{fffd}[2Jb\u{fffd}c"), "{rows}");
}

#[test]
fn every_size_of_screen_can_be_drawn() {
    let mut view = with_bob();
    view.handle_event(
        Event::Message(message(1, BOB, "鸿雁传书 a_long_word_without_end 👩‍👩‍👧")),
        NOW_MS,
    );
    view.handle_queued(WITH_BOB, 1, "mine", NOW_MS);
    view.handle_event(Event::Rejected { client_seq: 1, code: None }, NOW_MS);
    type_line(&mut view, "/help");
    for columns in 1..70 {
        for rows in [1, 2, 3, 5, 15] {
            screen(&mut view, columns, rows);
        }
    }
}

#[test]
fn page_up_goes_back_and_fetches_what_is_not_here() {
    let mut view = with_bob();
    (101..=130).for_each(|seq| {
        view.handle_event(Event::Message(message(seq, BOB, &format!("no {seq}"))), NOW_MS);
    });
    forget(&mut view);
    let top = |view: &mut View| screen(view, 60, 13)[1..9].join(" ");
    assert!(top(&mut view).contains("no 121"));
    press(&mut view, KeyCode::PageUp, KeyModifiers::NONE);
    assert!(top(&mut view).contains("no 112"));
    assert_eq!(view.take_asks(), []);
    for _ in 0..4 {
        press(&mut view, KeyCode::PageUp, KeyModifiers::NONE);
        screen(&mut view, 60, 13);
    }
    assert_eq!(view.take_asks(), [Ask::Older(WITH_BOB, Some(101))], "asked once");
    let older = (1..=100).map(|seq| message(seq, BOB, &format!("no {seq}"))).collect();
    view.handle_answer(Answer::Page(WITH_BOB, older, false));
    press(&mut view, KeyCode::PageUp, KeyModifiers::NONE);
    assert!(top(&mut view).contains("no 90"), "right above what was seen");
    for _ in 0..20 {
        press(&mut view, KeyCode::PageUp, KeyModifiers::NONE);
        screen(&mut view, 60, 13);
    }
    assert!(top(&mut view).contains("no 1 "));
    assert_eq!(view.take_asks(), [], "the first message is here");
    for _ in 0..20 {
        press(&mut view, KeyCode::PageDown, KeyModifiers::NONE);
    }
    assert!(top(&mut view).contains("no 121"));
}

#[test]
fn keys_leave_and_edit() {
    for code in ['c', 'd'] {
        let mut view = with_bob();
        press(&mut view, KeyCode::Char(code), KeyModifiers::CONTROL);
        assert_eq!(view.take_asks(), [Ask::Quit]);
    }
    let mut view = with_bob();
    view.handle_paste("one two\nthree");
    press(&mut view, KeyCode::Char('w'), KeyModifiers::CONTROL);
    press(&mut view, KeyCode::Char('X'), KeyModifiers::SHIFT);
    press(&mut view, KeyCode::Home, KeyModifiers::NONE);
    press(&mut view, KeyCode::Delete, KeyModifiers::NONE);
    press(&mut view, KeyCode::Enter, KeyModifiers::NONE);
    assert_eq!(view.take_asks(), [Ask::Send(WITH_BOB, "ne two\nX".into())]);
    type_line(&mut view, "/quit");
    assert_eq!(view.take_asks(), [Ask::Quit]);
}
