//! What an operator types: backup and restore, doctor, accounts.

use std::{
    collections::HashMap,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
};

use anser_server::secrets;
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::{
    audit::Audit,
    layout,
    process::Process,
    raw::{Raw, push, send},
};

/// Runs a command against a data folder, with a standard input.
async fn anser(data_dir: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_anser"))
        .args(args)
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("an input");
    // A command that does not read it may have ended.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    child.wait_with_output().await.expect("it ends")
}

#[track_caller]
fn ended(ran: &Output, status: i32) -> String {
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(status), "{told}");
    String::from_utf8_lossy(&ran.stdout).into_owned() + &told
}

#[tokio::test]
async fn a_backup_is_restored_with_its_key_and_with_no_other() {
    let mut server = Process::start(&[]).await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    sender.send(push(1, send(chat, b"kept"))).await;
    sender.acked(1).await;

    let data_dir = server.data_dir();
    let path = |name: &str| server.folder().join(name);
    let (backup, key, restored) = (path("backup"), path("exported.key"), path("restored"));
    let text = |path: &Path| path.to_str().expect("temporary paths are text").to_owned();
    let (backup_text, key_text) = (text(&backup), text(&key));
    ended(&anser(&data_dir, &["backup", &backup_text], "").await, 0);
    let again = ended(&anser(&data_dir, &["backup", &backup_text], "").await, 1);
    assert!(again.contains("empty"), "{again}");
    ended(&anser(&data_dir, &["config", "export-key", &key_text], "").await, 0);
    ended(&anser(&data_dir, &["config", "export-key", &key_text], "").await, 1);
    sender.send(push(2, send(chat, b"after the backup"))).await;
    sender.acked(2).await;

    let wrong = text(&path("wrong.key"));
    std::fs::write(&wrong, "ab".repeat(32)).expect("written");
    let restore =
        |key: String| vec!["restore".to_owned(), text(&backup), "--master-key".into(), key];
    let run = async |args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        anser(&restored, &args, "").await
    };
    let refused = ended(&run(restore(wrong)).await, 1);
    assert!(refused.contains("another master key"), "{refused}");
    assert!(!restored.exists(), "nothing half-made is left");
    ended(&run(restore(key_text.clone())).await, 0);
    assert!(ended(&run(restore(key_text)).await, 1).contains("exists"));

    assert!(server.terminate().await.success());
    let now = Audit::default().look(layout::open_folder(&data_dir), &HashMap::new()).await;
    let then = Audit::default().look(layout::open_folder(&restored), &HashMap::new()).await;
    assert_eq!(then[&bob.user].head + 1, now[&bob.user].head, "all up to the backup");
}

#[tokio::test]
async fn doctor_says_what_is_wrong_and_what_to_do() {
    let server = Process::start(&[]).await;
    let data_dir = server.data_dir();
    let verdicts = |told: &str| -> HashMap<String, String> {
        let lines = told.lines().filter(|line| line.starts_with('{'));
        let findings = lines.map(|line| serde_json::from_str::<Value>(line).expect("an object"));
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        findings.map(|one| (text(&one["check"]), text(&one["verdict"]))).collect()
    };
    let well = verdicts(&ended(&anser(&data_dir, &["doctor", "--json"], "").await, 0));
    assert_eq!((well["server"].as_str(), well["key copy"].as_str()), ("OK", "WARN"));

    let copy = server.folder().join("copy.key");
    let copy = copy.to_str().expect("temporary paths are text");
    ended(&anser(&data_dir, &["config", "export-key", copy], "").await, 0);
    let key = secrets::master_key_file(&data_dir);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("its own file");
    let told = ended(&anser(&data_dir, &["doctor", "--json"], "").await, 1);
    let ill = verdicts(&told);
    assert_eq!((ill["permissions"].as_str(), ill["key copy"].as_str()), ("FAIL", "OK"));
    assert!(told.contains("chmod"), "it says what to do: {told}");
}

#[tokio::test]
async fn doctor_knows_a_node_without_an_api_by_its_health() {
    let server = Process::start(&[]).await;
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_anser"));
    doctor.args(["doctor", "--data-dir"]).arg(server.data_dir());
    doctor.env("ANSER_NODE__ROLES", "connector").env("ANSER_OPS__LISTEN", server.ops.to_string());
    // Nobody is there, which it tells too.
    let services = [("STORE", "mysql"), ("QUEUE", "amqp"), ("PRESENCE", "redis")];
    for (key, scheme) in services {
        doctor.env(format!("ANSER_{key}__URL"), format!("{scheme}://127.0.0.1:9/0"));
    }
    let told = ended(&doctor.kill_on_drop(true).output().await.expect("it runs"), 1);
    assert!(told.contains("server: it runs and answers on"), "{told}");
    assert!(told.contains("FAIL queue"), "{told}");
}

#[tokio::test]
async fn accounts_are_made_listed_and_ended() {
    let server = Process::start(&[]).await;
    let data_dir = server.data_dir();
    let user = async |args: &[&str], input: &str| {
        let args = [&["user"], args].concat();
        anser(&data_dir, &args, input).await
    };
    ended(&user(&["add", "carol", "--password-stdin"], "long enough\n").await, 0);
    assert!(ended(&user(&["add", "carol", "--no-password"], "").await, 1).contains("taken"));
    ended(&user(&["add", "Carol!", "--no-password"], "").await, 2);
    ended(&user(&["disable", "carol"], "").await, 0);
    let listed = ended(&user(&["list", "--json"], "").await, 0);
    let carol: Value = serde_json::from_str(listed.trim()).expect("one object");
    assert_eq!((&carol["name"], &carol["state"]), (&"carol".into(), &"disabled".into()));
    ended(&user(&["remove", "carol"], "").await, 1);
    ended(&user(&["remove", "carol", "--yes"], "").await, 0);
    ended(&user(&["enable", "nobody"], "").await, 1);
}

#[tokio::test]
async fn a_start_with_unfit_certificates_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path().join("data");
    let absent = folder.path().join("absent.pem");
    let key = |name: &str| (format!("ANSER_LINK__{name}"), absent.clone());
    let refused = async |keys: &[(String, std::path::PathBuf)]| {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_anser"));
        serve.arg("serve").arg("--data-dir").arg(&data_dir).envs(keys.iter().cloned());
        ended(&serve.kill_on_drop(true).output().await.expect("it ends"), 78)
    };
    let some = refused(&[key("TLS_CA"), key("TLS_CERT")]).await;
    assert!(some.contains("link.tls_key is missing"), "{some}");
    let unread = refused(&[key("TLS_CA"), key("TLS_CERT"), key("TLS_KEY")]).await;
    assert!(unread.contains("link.tls_ca") && unread.contains("absent.pem"), "{unread}");
}

#[tokio::test]
async fn without_a_server_commands_say_how_to_start_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = ended(&anser(folder.path(), &["user", "list"], "").await, 69);
    assert!(told.contains("anser serve"), "{told}");
}
