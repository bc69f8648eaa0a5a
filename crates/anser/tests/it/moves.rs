//! Export and import with the real binary: a server's data moves to MySQL and back, and its
//! clients notice no more than a restart.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use anser_proto::ConversationId;
use anser_server::secrets;
use tokio::process::Command;

use crate::support::{
    database::Database,
    people::{PATIENCE, Person, numbered},
    process::{Process, WITHOUT_RATE_LIMIT},
    site::Account,
    view::{Differences, Expected, View},
};

/// Runs a command against a data folder.
async fn anser(data_dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
    command.args(args).arg("--data-dir").arg(data_dir).kill_on_drop(true);
    // A server that is not refused would serve on.
    let ran = tokio::time::timeout(PATIENCE, command.output()).await;
    ran.expect("it ends").expect("it runs")
}

#[track_caller]
fn ended(ran: &Output, status: i32) -> String {
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(status), "{told}");
    String::from_utf8_lossy(&ran.stdout).into_owned() + &told
}

/// What `anser doctor` says of the store, and of what to do.
async fn doctor(data_dir: &Path, url: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
    command.arg("doctor").arg("--data-dir").arg(data_dir).env("ANSER_STORE__URL", url);
    if !url.is_empty() {
        command.env("ANSER_FILES__SHARED", "true").env("ANSER_FILES__PATH", data_dir.join("files"));
    }
    let ran = command.kill_on_drop(true).output().await.expect("it runs");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let mut lines = told.lines().skip_while(|line| !line.contains(" store: "));
    lines.by_ref().take(2).collect::<Vec<_>>().join(" ")
}

/// A line of what was told, which is the same where the data is.
fn hash(told: &str) -> String {
    let line = told.lines().find(|line| line.trim_start().starts_with("sha256"));
    line.expect("a hash").to_owned()
}

/// A person whose client keeps running, in spite of the server.
async fn person(server: &Process, account: &Account, file: &str) -> View {
    View::of(Person::with_file(server, account, file).await)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// Two people whose clients run all the time, and what they said.
struct Talk {
    alice: View,
    bob: View,
    chat: ConversationId,
    said: Expected,
}

impl Talk {
    /// The two go online and say something; gives also how many resets they saw by then.
    async fn begin(
        server: &Process,
        alice: &Account,
        bob: &Account,
        chat: ConversationId,
    ) -> (Self, [usize; 2]) {
        let alice = person(server, alice, "alice.redb").await;
        let bob = person(server, bob, "bob.redb").await;
        let mut talk = Self { alice, bob, chat, said: Expected::new() };
        talk.say("before");
        talk.heard(talk.resets()).await;
        let resets = talk.resets();
        (talk, resets)
    }

    /// Both say something, whether a server is there or not.
    fn say(&mut self, what: &str) {
        for view in [&self.alice, &self.bob] {
            let texts = numbered(&format!("{} {what}", view.client.user_name()), 3);
            for text in &texts {
                view.client.send(self.chat, text.clone()).expect("a place in the outbox");
            }
            self.said.entry(view.client.device()).or_default().extend(texts);
        }
    }

    /// Both see all that was said so far, once, in order, and without a reset.
    async fn heard(&mut self, resets: [usize; 2]) {
        let count = self.said.values().map(Vec::len).sum();
        for (view, resets) in [&mut self.alice, &mut self.bob].into_iter().zip(resets) {
            let seen = view.until(|seen| seen.messages.len() >= count).await;
            assert_eq!(seen.differences(self.chat, &self.said), Differences::default());
            assert_eq!((seen.resets, &seen.rejected[..]), (resets, &[][..]), "no word of a move");
        }
    }

    fn resets(&self) -> [usize; 2] {
        [self.alice.now().resets, self.bob.now().resets]
    }
}

#[tokio::test]
async fn clients_go_on_where_they_were_on_mysql_and_back() {
    let test = "clients_go_on_where_they_were_on_mysql_and_back";
    let Some(database) = Database::new(test) else { return };
    let url = database.url();
    let mut server = Process::start(&WITHOUT_RATE_LIMIT).await;
    let (alice, bob, chat) = server.friends().await;
    let bobs_other = server.device(&bob).await;
    let other = Person::with_file(&server, &bobs_other, "other.redb").await;
    other.client.online().await.expect("online");
    other.client.shutdown().await;
    let (mut talk, resets) = Talk::begin(&server, &alice, &bob, chat).await;

    let (data_dir, first, second) =
        (server.data_dir(), server.folder().join("first"), server.folder().join("second"));
    let (first, second) = (text(&first), text(&second));
    let in_use = ended(&anser(&data_dir, &["export", first]).await, 1);
    assert!(in_use.contains("in use by another Anser server"), "{in_use}");
    assert!(!Path::new(first).exists(), "nothing half-made is left");
    assert!(server.terminate().await.success());
    talk.say("while it moves");
    let exported = ended(&anser(&data_dir, &["export", first]).await, 0);
    assert_eq!(std::fs::metadata(first).expect("a dump").permissions().mode() & 0o777, 0o600);
    let fenced = ended(&anser(&data_dir, &["serve"]).await, 78);
    assert!(fenced.contains("anser new-epoch"), "it says what to do: {fenced}");
    let imported = ended(&anser(&data_dir, &["import", first, "--store", &url]).await, 0);
    assert_eq!(hash(&exported), hash(&imported));
    server.configure("ANSER_STORE__URL", &url);
    server.configure("ANSER_FILES__SHARED", "true");
    server.configure("ANSER_FILES__PATH", text(&data_dir.join("files")));
    server.start_again().await;
    talk.heard(resets).await;
    talk.say("there");
    talk.heard(resets).await;
    let mut other = Person::with_file(&server, &bobs_other, "other.redb").await;
    assert_eq!(other.texts(18).await.len(), 18, "all, on the device that was away");
    other.client.shutdown().await;

    let in_use = ended(&anser(&data_dir, &["export", second, "--store", &url]).await, 1);
    assert!(in_use.contains("other connections"), "{in_use}");
    assert!(server.terminate().await.success());
    talk.say("while it moves back");
    let exported = ended(&anser(&data_dir, &["export", second, "--store", &url]).await, 0);
    let fenced = ended(&anser(&data_dir, &["serve"]).await, 78);
    assert!(fenced.contains("was exported"), "the folder of before: {fenced}");
    let told = doctor(&data_dir, &url).await;
    assert!(told.starts_with("FAIL store: the store in this database was exported"), "{told}");
    assert!(told.contains("-> ") && told.contains("anser new-epoch"), "{told}");
    let full = ended(&anser(&data_dir, &["import", second]).await, 1);
    assert!(full.contains("is not empty"), "{full}");
    std::fs::rename(data_dir.join("db"), server.folder().join("old")).expect("moved away");
    let imported = ended(&anser(&data_dir, &["import", second]).await, 0);
    assert_eq!(hash(&exported), hash(&imported));
    server.configure("ANSER_STORE__URL", "");
    server.start_again().await;
    talk.heard(resets).await;
    talk.say("back");
    talk.heard(resets).await;
    let mut other = Person::with_file(&server, &bobs_other, "other.redb").await;
    assert_eq!(other.texts(12).await.len(), 12);
    assert_eq!(talk.alice.client.outbox_len() + talk.bob.client.outbox_len(), 0);
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn an_exported_server_serves_again_only_as_another_history() {
    let mut server = Process::start(&[]).await;
    let (alice, bob, chat) = server.friends().await;
    let (mut talk, resets) = Talk::begin(&server, &alice, &bob, chat).await;
    let (data_dir, dump) = (server.data_dir(), server.folder().join("dump"));
    let told = doctor(&data_dir, "").await;
    assert!(told.starts_with("OK   store: a server has it open"), "{told}");
    assert!(server.terminate().await.success());
    ended(&anser(&data_dir, &["export", text(&dump)]).await, 0);
    ended(&anser(&data_dir, &["export", text(&dump)]).await, 1);
    ended(&anser(&data_dir, &["serve"]).await, 78);
    let told = doctor(&data_dir, "").await;
    assert!(told.starts_with("FAIL store: the store in /"), "{told}");
    assert!(told.contains("was exported") && told.contains("anser new-epoch"), "{told}");
    let told = ended(&anser(&data_dir, &["new-epoch"]).await, 0);
    assert!(told.contains("reset"), "{told}");
    let told = doctor(&data_dir, "").await;
    assert!(told.starts_with("OK   store: it opens"), "{told}");
    server.start_again().await;
    talk.alice.until(|seen| seen.resets > resets[0]).await;
    talk.bob.until(|seen| seen.resets > resets[1]).await;
    talk.say("after");
    let count = talk.said.values().map(Vec::len).sum();
    for view in [&mut talk.alice, &mut talk.bob] {
        let seen = view.until(|seen| seen.messages.len() >= count).await;
        assert_eq!(seen.differences(chat, &talk.said), Differences::default());
    }
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn an_import_wants_a_whole_dump_and_its_master_key() {
    let mut server = Process::start(&[]).await;
    server.friends().await;
    let (data_dir, dump) = (server.data_dir(), server.folder().join("dump"));
    assert!(server.terminate().await.success());
    ended(&anser(&data_dir, &["export", text(&dump)]).await, 0);
    let new = server.folder().join("new");
    let import = async |dump: &Path, more: &[&str]| {
        anser(&new, &[&["import", text(dump)], more].concat()).await
    };
    let no_key = ended(&import(&dump, &[]).await, 78);
    assert!(no_key.contains("--master-key"), "it says what to do: {no_key}");
    let wrong = server.folder().join("wrong.key");
    std::fs::write(&wrong, "ab".repeat(32)).expect("written");
    let other_key = ended(&import(&dump, &["--master-key", text(&wrong)]).await, 78);
    assert!(other_key.contains("another master key"), "{other_key}");

    let key = secrets::master_key_file(&data_dir);
    let with_key = ["--master-key", text(&key)];
    let whole = std::fs::read(&dump).expect("a dump");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let damaged = server.folder().join("damaged");
    for bytes in [&flipped[..], &whole[..whole.len() / 2]] {
        std::fs::write(&damaged, bytes).expect("written");
        let refused = ended(&import(&damaged, &with_key).await, 1);
        assert!(refused.contains("the dump is damaged"), "{refused}");
        assert!(!new.exists(), "nothing was made of it");
    }
    ended(&import(&dump, &with_key).await, 0);
    let again = ended(&import(&dump, &with_key).await, 1);
    assert!(again.contains("is not empty"), "{again}");
    assert!(secrets::master_key_file(&new).exists());
}
