//! `anser send` and `anser tail` as scripts use them: two binaries, their lines and exit statuses.

use std::process::{Output, Stdio};

use anser_client::{RelationAction, Rest};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::support::{
    cli,
    people::Person,
    server::{Account, Server},
};

/// A server, and Alice and Bob, each with a device of the command line.
struct World {
    server: Server,
    alice: Account,
    bob: Account,
}

/// A `tail` that runs.
struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl World {
    async fn strangers() -> Self {
        let server = Server::start().await;
        let [alice, bob] = [join(&server, "alice").await, join(&server, "bob").await];
        Self { server, alice, bob }
    }

    async fn friends() -> Self {
        let world = Self::strangers().await;
        world.server.befriend(&world.alice, &world.bob).await;
        world
    }

    async fn send(&self, user: &str, args: &[&str]) -> Output {
        self.send_input(user, args, "").await
    }

    async fn send_input(&self, user: &str, args: &[&str], input: &str) -> Output {
        let mut command = anser(&self.server, "send", user);
        let mut child = command.args(args).stdin(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("an input");
        // A run that is refused at once does not read it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.expect("it ends")
    }

    /// All lines of a `tail` that ends by itself.
    async fn tail_once(&self, user: &str, args: &[&str]) -> Vec<String> {
        let mut command = anser(&self.server, "tail", user);
        let ran = command.arg("--until-caught-up").args(args).output().await.expect("it runs");
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
        stdout(&ran).lines().map(str::to_owned).collect()
    }

    /// A `tail --json` that goes on, from where it is caught up.
    async fn tail(&self, user: &str) -> Tail {
        let mut child = anser(&self.server, "tail", user).arg("--json").spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("an output")).lines();
        let mut tail = Tail { child, lines };
        tail.next("caught_up").await;
        tail
    }
}

impl Tail {
    /// The next event of this name.
    async fn next(&mut self, event: &str) -> Value {
        loop {
            let line = self.lines.next_line().await.expect("an output").expect("a line");
            let told: Value = serde_json::from_str(&line).expect("an object");
            if told["event"] == event {
                return told;
            }
        }
    }

    async fn end_by(mut self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.expect("it runs"), signal).expect("a signal");
        let status = self.child.wait().await.expect("an end");
        assert_eq!(status.code(), Some(0));
    }
}

fn anser(server: &Server, command: &str, user: &str) -> Command {
    let mut anser = cli::anser(server.api, server, command, user);
    anser.stdout(Stdio::piped()).stderr(Stdio::piped());
    anser
}

/// Registers by the first use of the command line; the account returned is another device.
async fn join(server: &Server, user: &str) -> Account {
    let mut first = anser(server, "tail", user);
    let ran = first.arg("--until-caught-up").output().await.expect("it runs");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    cli::log_in(server, user).await
}

fn stdout(ran: &Output) -> String {
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

fn stderr(ran: &Output) -> String {
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

#[track_caller]
fn ended(ran: &Output, status: i32) {
    assert_eq!(ran.status.code(), Some(status), "{}{}", stdout(ran), stderr(ran));
}

#[tokio::test]
async fn what_one_sends_the_other_prints() {
    let world = World::friends().await;
    let mut tail = world.tail("bob").await;
    let ran = world.send("alice", &["--to", "bob", "--json", "hello from a script"]).await;
    ended(&ran, 0);
    let sent: Value = serde_json::from_str(&stdout(&ran)).expect("an object");
    assert_eq!(
        (&sent["state"], &sent["conv_seq"], &sent["client_seq"]),
        (&"sent".into(), &1.into(), &1.into())
    );
    let got = tail.next("message").await;
    assert_eq!(got["text"], "hello from a script");
    assert_eq!(got["from"], "alice");
    assert_eq!(got["conv_seq"], 1);
    assert_eq!(got["conversation"], sent["conversation"]);
    let ran = world.send("alice", &["--to", "bob", "--with-receipt", "delivered", "more"]).await;
    ended(&ran, 0);
    assert_eq!(stdout(&ran), "delivered: message 2 to bob\n");
    assert_eq!(tail.next("message").await["text"], "more");
    tail.end_by(Signal::TERM).await;
}

#[tokio::test]
async fn standard_input_is_one_message_or_one_per_line() {
    let world = World::friends().await;
    let mut tail = world.tail("bob").await;
    let ran = world.send_input("alice", &["--to", "bob"], "two\nlines\u{1b}[2J\n").await;
    ended(&ran, 0);
    assert_eq!(tail.next("message").await["text"], "two\nlines\u{1b}[2J");
    let lines = (1..=100).map(|number| format!("line {number}\n")).collect::<String>();
    let ran = world.send_input("alice", &["--to", "bob", "--lines"], &lines).await;
    ended(&ran, 0);
    assert_eq!(stdout(&ran).lines().count(), 100);
    for number in 1..=100 {
        assert_eq!(tail.next("message").await["text"], format!("line {number}"));
    }
    tail.end_by(Signal::INT).await;
    let again = world.tail_once("bob", &["--since-start"]).await;
    assert_eq!(again.len(), 101);
    assert_eq!(again[0], "alice: two\\nlines\\u{1b}[2J");
    ended(&world.send_input("alice", &["--to", "bob"], "\n").await, 1);
}

#[tokio::test]
async fn strangers_are_told_how_to_become_friends() {
    let world = World::strangers().await;
    let ran = world.send("alice", &["--to", "bob", "hello?"]).await;
    ended(&ran, 77);
    let told = stderr(&ran);
    assert!(told.contains("anser chat --user alice") && told.contains("/add bob"), "{told}");
    assert_eq!(stdout(&ran), "");
    world.server.befriend(&world.alice, &world.bob).await;
    assert!(world.tail_once("bob", &[]).await.is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_friend_of_yesterday_refuses() {
    let world = World::friends().await;
    // Alice's device knows Bob as a friend, and is not there when he changes his mind.
    ended(&world.send("alice", &["--to", "bob", "hello"]).await, 0);
    let rest = Rest::new(&format!("http://{}", world.server.api)).expect("a client");
    let bob = rest.with_token(&world.bob.token);
    let remove = RelationAction::Remove;
    bob.change_relation(world.alice.user, remove).await.expect("they part");
    let ran = world.send("alice", &["--to", "bob", "--json", "still there?"]).await;
    ended(&ran, 77);
    // The news may come before the command goes out: then it is refused without a command.
    for line in stdout(&ran).lines() {
        let failed: Value = serde_json::from_str(line).expect("an object");
        assert_eq!((&failed["state"], &failed["code"]), (&"failed".into(), &"not_member".into()));
    }
    assert!(stderr(&ran).contains("/add bob"), "{}", stderr(&ran));
    assert_eq!(world.tail_once("bob", &[]).await, ["alice: hello"]);
}

#[tokio::test]
async fn what_waits_in_the_outbox_goes_with_the_next_run() {
    let mut world = World::friends().await;
    ended(&world.send("alice", &["--to", "bob", "one"]).await, 0);
    world.server.stop().await;
    let ran = world.send("alice", &["--to", "bob", "--timeout", "200ms", "--json", "two"]).await;
    ended(&ran, 69);
    let waits: Value = serde_json::from_str(&stdout(&ran)).expect("an object");
    assert_eq!((&waits["state"], &waits["conv_seq"]), (&"queued".into(), &Value::Null));
    assert!(stderr(&ran).contains("outbox"), "{}", stderr(&ran));
    let ran = world.send("alice", &["--to", "nobody", "--timeout", "200ms", "x"]).await;
    ended(&ran, 69);
    assert!(stderr(&ran).contains("nothing was sent"), "{}", stderr(&ran));
    world.server.start_again().await;
    ended(&world.send("alice", &["--to", "bob", "three"]).await, 0);
    assert_eq!(world.tail_once("bob", &[]).await, ["alice: one", "alice: two", "alice: three"]);
}

#[tokio::test]
async fn tail_prints_what_another_command_received_and_nothing_twice() {
    let world = World::friends().await;
    ended(&world.send("alice", &["--to", "bob", "for bob"]).await, 0);
    // Bob's device receives it here, before any tail runs.
    let mut tail = world.tail("alice").await;
    ended(&world.send("bob", &["--to", "alice", "--with-receipt", "delivered", "hi"]).await, 0);
    assert_eq!(tail.next("message").await["text"], "hi");
    tail.end_by(Signal::TERM).await;
    assert_eq!(world.tail_once("bob", &[]).await, ["alice: for bob"]);
    assert!(world.tail_once("bob", &[]).await.is_empty());
    assert_eq!(world.tail_once("bob", &["--since-start"]).await, ["alice: for bob"]);
}

#[tokio::test]
async fn a_reader_that_leaves_ends_tail_and_loses_nothing() {
    let world = World::friends().await;
    let mut tail = world.tail("bob").await;
    drop(tail.lines);
    ended(&world.send("alice", &["--to", "bob", "unseen"]).await, 0);
    let status = tail.child.wait().await.expect("an end");
    assert_eq!(status.code(), Some(0));
    assert_eq!(world.tail_once("bob", &[]).await, ["alice: unseen"]);
}

#[tokio::test]
async fn wrong_usage_is_told_before_anything_is_asked() {
    let server = Server::start().await;
    for (args, status, told) in [
        (&["--to", "alice", "hi"][..], 1, "nobody writes to themselves"),
        (&["--to", "bob", "--server", "https://127.0.0.1", "hi"][..], 2, "no TLS yet"),
        (&["--to", "bob", "--server", "127.0.0.1:7401", "hi"][..], 2, "http://127.0.0.1:7401"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
        command.args(["send", "--user", "alice"]).arg("--state-dir").arg(server.folder());
        let ran = command.args(args).stdin(Stdio::null()).output().await.expect("it runs");
        ended(&ran, status);
        assert!(stderr(&ran).contains(told), "{}", stderr(&ran));
    }
}

#[tokio::test]
async fn a_file_is_sent_told_and_saved() {
    let world = World::friends().await;
    let folder = world.server.folder();
    let (path, inbox) = (folder.join("my photo.png"), folder.join("inbox"));
    let picture = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x06\0\0\0";
    std::fs::write(&path, picture).expect("a file");
    let path = path.to_str().expect("text");
    let sent = world.send("alice", &["--to", "bob", "--file", path]).await;
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    assert_eq!(stdout(&sent), "sent: my photo.png, message 1 to bob\n");
    let lines = world.tail_once("bob", &["--since-start"]).await;
    assert_eq!(lines, ["alice: [file my photo.png, 29 B, 640x480]"]);

    let save = ["--since-start", "--json", "--save", inbox.to_str().expect("text")];
    for round in 0..2 {
        let lines = world.tail_once("bob", &save).await;
        let told: Value = serde_json::from_str(&lines[0]).expect("an object");
        let saved = inbox.join("alice-1-my photo.png");
        assert_eq!(told["saved"], saved.to_str().expect("text"), "round {round}");
        assert_eq!((&told["text"], &told["unreadable"]), (&Value::Null, &Value::Null));
        assert_eq!(told["file"]["name"], "my photo.png");
        assert_eq!((&told["file"]["size"], &told["file"]["width"]), (&29.into(), &640.into()));
        assert_eq!(told["file"]["media_type"], "image/png");
        assert_eq!(std::fs::read(&saved).expect("saved"), picture);
    }
    let files = std::fs::read_dir(&inbox).expect("a folder").count();
    assert_eq!(files, 1, "nothing half, nothing twice");

    let none = world.send("alice", &["--to", "bob", "--file", "/no/such/file"]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("/no/such/file can not be read"), "{}", stderr(&none));
}

/// A picture is shown before it is fetched: its message has a small one.
#[tokio::test]
async fn a_picture_is_sent_with_a_small_one() {
    let world = World::friends().await;
    let path = world.server.folder().join("photo.png");
    let file = std::fs::File::create(&path).expect("a file");
    let mut encoder = png::Encoder::new(file, 640, 480);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().expect("a head");
    writer.write_image_data(&vec![99; 640 * 480]).expect("pixels");
    writer.finish().expect("an end");
    let mut bob = Person::online(&world.server, &world.bob).await;
    let path = path.to_str().expect("text");
    let sent = world.send("alice", &["--to", "bob", "--file", path]).await;
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    let file = crate::files::file(&mut bob).await;
    assert_eq!((&*file.media_type, file.pixels), ("image/png", Some((640, 480))));
    assert!(file.preview.starts_with(b"\x89PNG") && file.preview.len() <= 4096);
}

/// The server is away while the file is to be sent: the next run of any command sends it.
#[tokio::test]
async fn a_file_that_waits_goes_out_by_the_next_run() {
    let mut world = World::friends().await;
    // So that the device knows its friend.
    world.send("alice", &["--to", "bob", "before"]).await;
    let path = world.server.folder().join("note.txt");
    std::fs::write(&path, "a note").expect("a file");
    world.server.stop().await;
    let path = path.to_str().expect("text");
    let waits = ["--to", "bob", "--timeout", "200ms", "--file", path];
    let waits = world.send("alice", &waits).await;
    assert_eq!(waits.status.code(), Some(69), "{}", stderr(&waits));
    assert!(stderr(&waits).contains("goes on with the file"), "{}", stderr(&waits));
    world.server.start_again().await;
    let mut bob = world.tail("bob").await;
    let alice = world.tail("alice").await;
    let told = bob.next("message").await;
    assert_eq!(told["file"]["name"], "note.txt");
    alice.end_by(Signal::TERM).await;
    bob.end_by(Signal::TERM).await;
}
