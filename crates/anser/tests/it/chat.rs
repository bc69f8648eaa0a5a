//! `anser chat` by lines, as two processes: what a newcomer does in two terminals.

use std::{path::Path, process::Stdio, time::Duration};

use anser_client::{Client, Password, Rest};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::support::server::Server;

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "correct horse";

/// One `anser chat` that is written to and read line by line.
struct Chat {
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    name: String,
}

impl Chat {
    fn start(server: &Server, name: &str, password: Option<&str>) -> Self {
        Self::on_device(server, name, password, "clients")
    }

    /// With its state in that folder: each is a device of its own.
    fn on_device(server: &Server, name: &str, password: Option<&str>, state: &str) -> Self {
        let mut command = command(server, name, state);
        if let Some(password) = password {
            command.env("ANSER_PASSWORD", password);
        }
        let mut process = command.spawn().expect("the binary starts");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("an output")).lines();
        Self { process, input, output, name: name.to_owned() }
    }

    /// Types a line.
    async fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
    }

    /// Reads up to a line that ends so, and gives the lines before it.
    async fn see(&mut self, end: &str) -> Vec<String> {
        let mut seen = Vec::new();
        let found = async {
            while let Some(line) = self.output.next_line().await.expect("text") {
                if line.ends_with(end) {
                    return true;
                }
                seen.push(line);
            }
            false
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(true) => seen,
            _ => panic!("{} does not see {end:?}, but {seen:#?}", self.name),
        }
    }

    /// Ends the input, as Ctrl-D does, and gives what was still written.
    async fn leave(mut self) -> (Option<i32>, Vec<String>, String) {
        drop(self.input.take());
        self.end().await
    }

    /// Waits for the end: status, the rest of the output, what went to standard error.
    async fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        let ended = async {
            let mut rest = Vec::new();
            while let Some(line) = self.output.next_line().await.expect("text") {
                rest.push(line);
            }
            let mut errors = String::new();
            let mut stderr = self.process.stderr.take().expect("an error output");
            stderr.read_to_string(&mut errors).await.expect("text");
            (self.process.wait().await.expect("a status").code(), rest, errors)
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("it ends in time")
    }
}

fn command(server: &Server, name: &str, state: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
    // Where files are saved.
    let here = server.folder().join("here");
    std::fs::create_dir_all(&here).expect("a folder");
    command
        .current_dir(here)
        .args(["chat", "--user", name, "--server"])
        .arg(format!("http://{}", server.api))
        .arg("--state-dir")
        .arg(server.folder().join(state))
        .env_remove("ANSER_PASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Alice and Bob, registered, online and friends.
async fn two_friends(server: &Server) -> (Chat, Chat) {
    let mut alice = Chat::start(server, "alice", Some(PASSWORD));
    let mut bob = Chat::start(server, "bob", Some(PASSWORD));
    alice.see("* connected").await;
    bob.see("* connected").await;
    alice.say("/add bob").await;
    alice.see("* bob was asked and can type: /accept alice").await;
    bob.see("* alice wants to be your friend: /accept alice (or /decline alice)").await;
    bob.say("/accept alice").await;
    bob.see("* You and alice are friends now.").await;
    alice.see("* You and bob are friends now.").await;
    (alice, bob)
}

#[tokio::test]
async fn two_people_meet_and_talk_while_the_server_comes_and_goes() {
    let mut server = Server::start().await;
    let (mut alice, mut bob) = two_friends(&server).await;

    alice.say("hello bob \u{1b}[31m").await;
    bob.see("] alice: hello bob \u{fffd}[31m").await;
    for tick in ["✓ sent", "✓✓ read"] {
        alice.see(&format!("{tick}: hello bob \u{fffd}[31m")).await;
    }
    bob.say("//hello alice").await;
    alice.see("] bob: /hello alice").await;
    bob.see("✓✓ read: /hello alice").await;

    server.stop().await;
    alice.see("* reconnecting").await;
    alice.say("are you there?").await;
    alice.see("… waits: are you there?").await;
    server.start_again().await;
    bob.see("] alice: are you there?").await;
    let before = alice.see("✓✓ read: are you there?").await;
    assert!(before.contains(&"✓ sent: are you there?".to_owned()), "{before:#?}");

    bob.say("/quit").await;
    let (status, _, errors) = bob.end().await;
    assert_eq!((status, &errors[..]), (Some(0), "The account bob is made.\n"));
    alice.say("until tomorrow").await;
    alice.see("✓ sent: until tomorrow").await;
    let (status, ..) = alice.leave().await;
    assert_eq!(status, Some(0));
}

/// As `printf ... | anser chat` does it: nothing is read back before the next line is written.
#[tokio::test]
async fn piped_lines_act_on_what_is_true_and_are_done_before_the_end() {
    let server = Server::start().await;
    for (name, lines, end) in [
        ("bob", "", "* connected"),
        ("alice", "/add bob\n/quit\n", "* bob was asked and can type: /accept alice"),
        ("bob", "/accept alice\n", "* You and alice are friends now."),
        ("alice", "hello\n/quit\n", "✓ sent: hello"),
    ] {
        let mut chat = Chat::start(&server, name, Some(PASSWORD));
        let input = chat.input.as_mut().expect("the input is open");
        input.write_all(lines.as_bytes()).await.expect("it reads");
        let (status, seen, _) = chat.leave().await;
        assert_eq!(status, Some(0));
        assert!(seen.iter().any(|line| line == end), "{name}: {seen:#?}");
    }
}

#[tokio::test]
async fn a_stored_session_needs_no_password_and_no_server() {
    let mut server = Server::start().await;
    let (mut alice, bob) = two_friends(&server).await;
    bob.leave().await;
    alice.say("good night").await;
    alice.see("✓ sent: good night").await;
    alice.leave().await;

    server.stop().await;
    let mut alice = Chat::start(&server, "alice", None);
    alice.see("] alice: good night ✓").await;
    alice.say("typed while it is away").await;
    alice.see("… waits: typed while it is away").await;
    let (status, _, errors) = alice.leave().await;
    assert_eq!(status, Some(0));
    assert_eq!(errors, "Messages that wait in the outbox and go out next time: 1\n");

    server.start_again().await;
    let mut bob = Chat::start(&server, "bob", None);
    bob.see("] alice: good night").await;
    let mut alice = Chat::start(&server, "alice", None);
    bob.see("] alice: typed while it is away").await;
    alice.see("✓✓ read: typed while it is away").await;
}

#[tokio::test]
async fn logins_that_do_not_succeed_say_what_to_do() {
    let server = Server::start().await;
    let mut alice = Chat::start(&server, "alice", Some(PASSWORD));
    alice.see("* connected").await;

    let (status, _, errors) = Chat::start(&server, "alice", None).leave().await;
    assert_eq!(status, Some(1));
    assert!(errors.contains("another anser command runs as alice"), "{errors}");
    let (status, _, errors) = Chat::start(&server, "bob", None).leave().await;
    assert_eq!(status, Some(1));
    assert!(errors.contains("set ANSER_PASSWORD or use --password-stdin"), "{errors}");
    alice.leave().await;

    std::fs::remove_dir_all(server.folder().join("clients")).expect("the state is there");
    let (status, _, errors) = Chat::start(&server, "alice", Some("another horse")).leave().await;
    assert_eq!(status, Some(77));
    assert!(errors.contains("the password is wrong, or the name alice is taken"), "{errors}");

    let mut process =
        command(&server, "alice", "clients").arg("--password-stdin").spawn().expect("it starts");
    let mut input = process.stdin.take().expect("an input");
    let lines = format!("{PASSWORD}\n/who\n");
    input.write_all(lines.as_bytes()).await.expect("it reads");
    drop(input);
    let output = process.wait_with_output().await.expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("* Nobody yet. /add NAME asks somebody."), "{text}");
}

#[tokio::test]
async fn a_revoked_session_ends_the_chat_and_asks_for_the_password_next_time() {
    let server = Server::start().await;
    let state = server.folder().join("clients");
    let mut alice = Chat::start(&server, "alice", Some(PASSWORD));
    alice.see("* connected").await;
    alice.leave().await;

    let mut alice = Chat::start(&server, "alice", None);
    alice.see("* connected").await;
    revoke_all(&server, "alice").await;
    let (status, _, errors) = alice.end().await;
    assert_eq!(status, Some(77));
    assert!(errors.contains("the session of alice was ended"), "{errors}");

    let (status, _, errors) = Chat::start(&server, "alice", None).leave().await;
    assert_eq!(status, Some(1));
    assert!(errors.contains("The session of alice was ended."), "{errors}");
    let mut alice = Chat::start(&server, "alice", Some(PASSWORD));
    alice.see("* connected").await;
    assert_private(&state);
}

#[tokio::test]
async fn a_second_device_shows_what_was_said_before_it_and_reads_it() {
    let server = Server::start().await;
    let (mut alice, bob) = two_friends(&server).await;
    bob.leave().await;
    // A device that receives and does not read: what it has got is not sent to later ones.
    let url = format!("http://{}", server.api);
    let silent = Client::builder(url).open(Password::new("bob", PASSWORD, "silent"));
    let (silent, _events) = silent.await.expect("a client");
    for text in ["one", "two", "three"] {
        alice.say(text).await;
        alice.see(&format!("✓✓ delivered: {text}")).await;
    }
    silent.shutdown().await;
    let mut laptop = Chat::on_device(&server, "bob", Some(PASSWORD), "laptop");
    laptop.see("] alice: three").await;
    alice.see("✓✓ read: three").await;
    laptop.say("four").await;
    alice.see("] bob: four").await;

    let mut tablet = Chat::on_device(&server, "bob", Some(PASSWORD), "tablet");
    tablet.see("] alice: one").await;
    for line in ["] alice: two", "] alice: three"] {
        assert_eq!(tablet.see(line).await, Vec::<String>::new());
    }
}

async fn revoke_all(server: &Server, name: &str) {
    let rest = Rest::new(&format!("http://{}", server.api)).expect("a client");
    let login = anser_proto::rest::Login {
        name: name.into(),
        password: PASSWORD.into(),
        device_name: "another".into(),
    };
    let session = rest.login(&login).await.expect("a session");
    let session = rest.with_token(session.token);
    for other in session.sessions().await.expect("sessions").sessions {
        if !other.current {
            session.revoke(other.device).await.expect("revoked");
        }
    }
}

/// Sessions and messages are nobody else's business.
fn assert_private(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(folder).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} {mode:o}", folder.display());
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            assert_private(&entry.expect("an entry").path());
        }
    }
}

#[tokio::test]
async fn a_file_goes_from_one_chat_to_the_other() {
    let server = Server::start().await;
    let (mut alice, mut bob) = two_friends(&server).await;
    let note = server.folder().join("a note.txt");
    std::fs::write(&note, "hello in a file").expect("a file");
    alice.say(&format!("/file {}", note.display())).await;
    alice.see("* a note.txt is sent.").await;
    bob.see("alice: [file a note.txt, 15 B]").await;
    bob.say("/save").await;
    bob.see("* Saved a note.txt, 15 B as ./a note.txt.").await;
    let saved = std::fs::read(server.folder().join("here/a note.txt")).expect("saved");
    assert_eq!(saved, b"hello in a file");
    bob.say("/save").await;
    bob.see("* Saved a note.txt, 15 B as ./a note (2).txt.").await;
    bob.say("/save other").await;
    bob.see("* There is no file other among the newest messages here.").await;
    alice.say("/file /no/such").await;
    alice.see("/no/such can not be read: No such file or directory (os error 2)").await;
    assert_eq!(alice.leave().await.0, Some(0));
    assert_eq!(bob.leave().await.0, Some(0));
}
