//! Resume: a device returns with (epoch, position) and gets everything after it, then `caught_up`,
//! then live entries; or an explicit `reset`.

use anser_client::{MemoryStorage, Transport};
use anser_proto::{ConversationId, Frame, Seq, wire};

use crate::support::{
    layout,
    people::{Person, builder, numbered, session, storage},
    proxy::Proxy,
    raw::{Raw, hello, push, send},
    server::Server,
    site::Site,
    view::{Differences, Expected, View, text},
};

/// Sends commands `from ..= to`, a message each, and waits until they are applied.
async fn sent(sender: &mut Raw, chat: ConversationId, from: Seq, to: Seq) {
    for number in from..=to {
        sender.send(push(number, send(chat, number.to_string().as_bytes()))).await;
        // Within the window.
        if number % 50 == 0 {
            sender.acked(number).await;
        }
    }
    if !to.is_multiple_of(50) {
        sender.acked(to).await;
    }
}

#[tokio::test]
async fn p5_everything_after_the_position_then_caught_up_once_then_live() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    sent(&mut sender, chat, 1, 10).await;
    let (mut receiver, welcome) = Raw::resume(&server, &bob, 4, 0).await;
    assert_eq!((welcome.head, welcome.floor), (11, 1));
    let (mut next, mut caught_up) = (5, 0);
    while next <= 14 {
        match receiver.next().await {
            Frame::Push(push) => {
                assert_eq!(push.seq, next);
                assert_eq!(caught_up > 0, next > 11, "entry {next}");
                next += 1;
            }
            Frame::CaughtUp(_) => {
                caught_up += 1;
                sent(&mut sender, chat, 11, 13).await;
            }
            _ => {}
        }
    }
    assert_eq!(caught_up, 1);
    // Somebody who is up to date is told so at once.
    let (mut nothing_new, _) = Raw::resume(&server, &bob, 14, 0).await;
    assert!(matches!(nothing_new.next().await, Frame::CaughtUp(_)));
    server.stop().await;
}

#[tokio::test]
async fn p5_old_entries_come_before_new_ones() {
    let mut server = Server::start_with(Server::without_rate_limit).await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    sent(&mut sender, chat, 1, 400).await;
    // One window is pushed, the rest waits in the log, and then there is something new.
    let (mut receiver, _) = Raw::resume(&server, &bob, 0, 0).await;
    receiver.entries(1, 256).await;
    sent(&mut sender, chat, 401, 402).await;
    receiver.ack(256).await;
    for (seq, entry) in (257..).zip(receiver.entries(257, 403).await) {
        let number = (seq - 1).to_string();
        assert_eq!(entry.body, number, "entry {seq} holds the message of that place");
    }
    server.stop().await;
}

#[tokio::test]
async fn p5_what_was_pushed_but_not_acked_comes_again() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    sent(&mut sender, chat, 1, 10).await;
    for _ in 0..3 {
        let (mut receiver, _) = Raw::resume(&server, &bob, 0, 0).await;
        receiver.entries(1, 11).await;
    }
    let (mut receiver, _) = Raw::resume(&server, &bob, 0, 0).await;
    receiver.entries(1, 11).await;
    receiver.ack(5).await;
    let (mut receiver, _) = Raw::resume(&server, &bob, 5, 0).await;
    for (number, entry) in (5..).zip(receiver.entries(6, 11).await) {
        assert_eq!(entry.body, number.to_string());
    }
    server.stop().await;
}

#[tokio::test]
async fn p5_what_can_not_be_continued_is_reset_and_never_a_silent_gap() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    sent(&mut Raw::online(&server, &alice).await, chat, 1, 10).await;
    let epoch = server.status().await.epoch;

    let Frame::Hello(known) = hello(&server, &bob, 5, 0).await else { unreachable!("a Hello") };
    let other_epoch = wire::Hello { epoch: "another".into(), ..known.clone() };
    let reset = Raw::reset(&server, Frame::Hello(other_epoch)).await;
    assert_eq!((reset.epoch.as_str(), reset.head), (epoch.as_str(), 11));
    let no_epoch = wire::Hello { epoch: String::new(), ..known.clone() };
    assert_eq!(Raw::reset(&server, Frame::Hello(no_epoch)).await.head, 11);
    let above = wire::Hello { position: 12, ..known.clone() };
    assert_eq!(Raw::reset(&server, Frame::Hello(above)).await.head, 11);
    let new = server.device(&bob).await;
    let new = Raw::reset(&server, hello(&server, &new, 0, 0).await).await;
    assert_eq!((new.head, new.outbox_position), (11, 0));
    let (mut at_head, _) = Raw::resume(&server, &bob, 11, 0).await;
    assert!(matches!(at_head.next().await, Frame::CaughtUp(_)), "a known position goes on");
    server.stop().await;
}

#[tokio::test]
async fn p5_a_device_that_comes_and_goes_sees_everything_once() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let sender = Person::online(&server, &alice).await;
    let mut seen = Vec::new();
    for round in 0..5 {
        let texts = numbered(&format!("round {round}"), 7);
        sender.send_all(chat, &texts);
        let mut receiver = Person::with_file(&server, &bob, "bob.redb").await;
        // Sometimes it leaves in the middle.
        let count = if round == 4 { 35 - seen.len() } else { 3 + round };
        seen.extend(receiver.texts(count).await);
        let position = receiver.client.watermarks(chat).head;
        receiver.client.shutdown().await;
        // What came after the last text that was looked at is stored, too, and will not come again.
        let mut rest = Vec::new();
        while let Some(event) = receiver.events.next().await {
            if let anser_client::Event::Message(message) = event {
                rest.push(text(&message).to_owned());
            }
        }
        assert!(position as usize >= seen.len());
        seen.extend(rest);
    }
    let all: Vec<_> = (0..5).flat_map(|round| numbered(&format!("round {round}"), 7)).collect();
    assert_eq!(seen, all);
    server.stop().await;
}

#[tokio::test]
async fn p5_connections_cut_at_any_byte_lose_and_double_nothing() {
    for (seed, transport) in [(1, Transport::Tcp), (2, Transport::WebSocket), (3, Transport::Tcp)] {
        let mut server = Server::start_with(Server::without_rate_limit).await;
        let (alice, bob, chat) = server.friends().await;
        let proxy = Proxy::start(server.connector, seed, 12, 6_000).await;
        let mut views = Vec::new();
        for account in [&alice, &bob] {
            let cut = builder(&server).transport(transport).connector(proxy.address.to_string());
            views.push(View::of(Person::of(cut, session(account)).await));
        }
        let mut expected = Expected::new();
        for part in 0..4 {
            for (account, view) in [&alice, &bob].into_iter().zip(&mut views) {
                let texts = numbered(&format!("{} {part}", account.name), 40);
                for text in &texts {
                    view.client.send(chat, text.clone()).expect("a place in the outbox");
                }
                expected.entry(account.device).or_default().extend(texts);
            }
            for view in &mut views {
                view.messages((part + 1) * 80).await;
            }
        }
        for view in &views {
            let seen = view.now();
            assert_eq!(seen.differences(chat, &expected), Differences::default(), "seed {seed}");
            assert_eq!(seen.resets, 0);
        }
        assert!(proxy.cuts() >= 4, "only {} connections were cut", proxy.cuts());
        server.stop().await;
    }
}

/// Everybody who is told is told once.
async fn reset_and_online(site: &Site, view: &mut View) {
    view.until(|seen| seen.resets == 1).await;
    view.client.online().await.expect("online");
    assert!(!site.status().await.epoch.is_empty());
}

#[tokio::test]
async fn p5_a_restored_backup_resets_the_devices_and_they_go_on() {
    if layout::is_elsewhere("p5_a_restored_backup_resets_the_devices_and_they_go_on") {
        return;
    }
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = View::of(Person::online(&server, &alice).await);
    let mut receiver = View::of(Person::online(&server, &bob).await);
    let say = |view: &View, text: &str| {
        view.client.send(chat, text).expect("a place in the outbox").client_seq()
    };
    assert_eq!(say(&sender, "in the backup"), 1);
    receiver.messages(1).await;
    let old_epoch = server.status().await.epoch;
    let backup = server.backup().await;
    assert_eq!(say(&sender, "after the backup"), 2);
    receiver.messages(2).await;
    sender.messages(2).await;
    server.stop().await;
    server.start_restored(&backup).await;
    assert_ne!(server.status().await.epoch, old_epoch, "another history");
    reset_and_online(&server, &mut sender).await;
    reset_and_online(&server, &mut receiver).await;
    assert_eq!(say(&sender, "after the restore"), 3, "no number is used twice");
    let seen = receiver.messages(3).await;
    assert_eq!(text(&seen[2]), "after the restore");
    let reply = receiver.client.send(chat, "and back").expect("a place in the outbox");
    reply.delivered().await;
    assert_eq!(text(&sender.messages(4).await[3]), "and back");
    server.stop().await;
}

#[tokio::test]
async fn p5_a_device_that_was_away_during_a_restore_gets_what_was_said_since() {
    if layout::is_elsewhere("p5_a_device_that_was_away_during_a_restore_gets_what_was_said_since") {
        return;
    }
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = View::of(Person::online(&server, &alice).await);
    let away = Person::of(builder(&server).storage(storage(&server, "bob")), session(&bob)).await;
    let mut away = View::of(away);
    let say = |view: &View, text: &str| {
        view.client.send(chat, text).expect("a place in the outbox");
    };
    say(&sender, "in the backup");
    away.messages(1).await;
    let backup = server.backup().await;
    say(&sender, "lost by the restore");
    say(&sender, "this one too");
    away.messages(3).await;
    away.client.shutdown().await;
    server.stop().await;
    server.start_restored(&backup).await;
    reset_and_online(&server, &mut sender).await;
    say(&sender, "first of the new history");
    say(&sender, "second of the new history");
    sender.messages(5).await;
    let back = Person::open(&server, &bob, storage(&server, "bob")).await;
    let mut back = View::of(back);
    let seen = back.messages(2).await;
    let texts: Vec<_> = seen.iter().map(text).collect();
    assert_eq!(texts, ["first of the new history", "second of the new history"]);
    server.stop().await;
}

#[tokio::test]
async fn p5_a_new_device_starts_from_a_snapshot_and_goes_on_live() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let sender = Person::online(&server, &alice).await;
    let mut first = View::of(Person::online(&server, &bob).await);
    sender.send_all(chat, &numbered("old", 5));
    first.messages(5).await;
    let account = server.device(&bob).await;
    let new = Person::open(&server, &account, MemoryStorage::default()).await;
    new.client.online().await.expect("online");
    let mut new = View::of(new);
    sender.send_all(chat, &numbered("new", 5));
    let seen = new.until(|seen| seen.messages.iter().any(|last| text(last) == "new 5")).await;
    let live: Vec<_> = seen.messages.iter().map(text).filter(|text| text.contains("new")).collect();
    assert_eq!(live, numbered("new", 5));
    assert_eq!(seen.caught_up, 1);
    server.stop().await;
}
