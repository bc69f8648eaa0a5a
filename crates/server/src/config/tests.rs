//! Tests of reading the configuration.

use std::path::Path;

use super::{
    Config,
    load::{LoadError, Loader, Source, default_text},
};

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, LoadError> {
    let mut loader = Loader::default();
    loader.text(file, Path::new("anser.toml"))?;
    loader.environment(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))?;
    loader.finish()
}

fn refusal(file: &str, variables: &[(&str, &str)]) -> String {
    load(file, variables).expect_err("must be refused").to_string()
}

#[test]
fn the_default_text_says_what_the_defaults_are() {
    let text: String = default_text()
        .lines()
        .filter(|line| !line.starts_with("##"))
        .map(|line| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n")
        .skip(2)
        .collect();
    let parsed = load(&text, &[]).expect("the uncommented default text");
    assert_eq!(parsed, Config::default());
    let lines = text.lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(lines, super::keys::KEYS.len(), "every key stands there, uncommented");
}

#[test]
fn environment_wins_over_file_and_flag_over_both() {
    let file = "[api]\npage_max = 50\nlogins_per_minute = 3";
    let variables = [("ANSER_API__PAGE_MAX", "60")];
    let config = load(file, &variables).expect("a configuration");
    assert_eq!((config.api.page_max, config.api.logins_per_minute), (60, 3));

    let mut loader = Loader::default();
    loader.text(file, Path::new("anser.toml")).expect("a file");
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    loader.environment(variables).expect("variables");
    loader.flag("--page-max", "api.page_max", Some("70")).expect("a flag");
    let page_max = loader.settings().iter().find(|setting| setting.key == "api.page_max");
    assert_eq!(page_max.expect("a setting").source, Source::Flag("--page-max"));
    assert_eq!(loader.finish().expect("a configuration").api.page_max, 70);
}

#[test]
fn what_does_not_exist_is_refused_with_a_suggestion() {
    assert_eq!(
        refusal("[api]\npage_maximum = 5", &[]),
        "anser.toml: there is no key \"api.page_maximum\"; did you mean \"api.page_max\"?"
    );
    assert_eq!(
        refusal("", &[("ANSER_CONECTOR__LISTEN", "127.0.0.1:1")]),
        "ANSER_CONECTOR__LISTEN: there is no key \"conector.listen\"; did you mean \"connector.listen\"?"
    );
    assert!(refusal("[zzz]\na = 1", &[]).contains("`anser config default` lists all"));
    assert!(
        refusal("", &[("ANSER_API_REGISTRATION", "closed")]).contains("ANSER_API__REGISTRATION")
    );
    assert!(load("", &[("ANSER_PASSWORD", "x"), ("HOME", "/")]).is_ok(), "not a key's variable");
}

#[test]
fn units_are_read_and_nonsense_is_told() {
    let file = "[connector]\nheartbeat = \"90s\"\nbody_bytes_max = \"32 KiB\"\n";
    let config = load(file, &[]).expect("a configuration");
    assert_eq!(config.connector.heartbeat.as_secs(), 90);
    assert_eq!(config.connector.body_bytes_max, 32 * 1024);
    let wrong = refusal("[connector]\nheartbeat = \"soon\"", &[]);
    assert!(wrong.contains("connector.heartbeat") && wrong.contains("30s"), "{wrong}");
    assert!(refusal("[api]\npage_max = 0", &[]).contains("at least 1"));
    assert!(refusal("[api]\nregistration = \"maybe\"", &[]).contains("open, invite, closed"));
}

#[test]
fn a_public_address_needs_a_promise() {
    let file = "[connector]\nlisten = \"0.0.0.0:7400\"";
    assert!(refusal(file, &[]).contains("node.insecure_public"));
    assert!(load(&format!("{file}\n[node]\ninsecure_public = true"), &[]).is_ok());
}

#[test]
fn lists_are_lists_in_file_and_environment() {
    let file = "[api]\ncors_origins = [\"https://a.example\", \"https://b.example\"]";
    let expected = ["https://a.example", "https://b.example"];
    assert_eq!(load(file, &[]).expect("a configuration").api.cors_origins, expected);
    let variables = [("ANSER_API__CORS_ORIGINS", "https://a.example, https://b.example")];
    assert_eq!(load("", &variables).expect("a configuration").api.cors_origins, expected);
}

#[test]
fn the_password_of_the_store_is_not_shown() {
    let url = "mysql://anser:p:a@ss@db.example.com:3306/anser";
    let mut loader = Loader::default();
    let variable = ("ANSER_STORE__URL".to_owned(), url.to_owned());
    loader.environment([variable]).expect("a variable");
    loader.text(SHARED, Path::new("anser.toml")).expect("a file");
    let settings = loader.settings();
    let shown = settings.iter().find(|setting| setting.key == "store.url").expect("a setting");
    assert_eq!(shown.value, "mysql://anser:…@db.example.com:3306/anser");
    let config = loader.finish().expect("a configuration");
    assert!(!format!("{config:?}").contains("ss@"), "{config:?}");
    assert_eq!(config.store.url.expect("a URL").reveal(), url);
    let refused = refusal("[store]\nurl = \"postgres://anser:secret@host/anser\"", &[]);
    assert!(refused.contains("store.url is not of the form mysql://"), "{refused}");
    assert!(!refused.contains("secret"), "{refused}");
}

#[test]
fn a_node_needs_the_shared_parts_of_its_roles() {
    let shared = "[store]\nurl = \"mysql://a@b/c\"\n[presence]\nurl = \"redis://r\"\n";
    let queue = "[queue]\nurl = \"amqp://q\"\n";
    let with = |roles: &str, rest: &str| format!("[node]\nroles = {roles}\n{rest}");
    let one = "[\"connector\"]";
    assert!(refusal(&with(one, ""), &[]).contains("store.url is missing"));
    assert!(refusal(&with(one, "[store]\nurl = \"mysql://a@b/c\""), &[]).contains("presence.url"));
    assert!(refusal(&with(one, shared), &[]).contains("queue.url is missing"));
    let config = load(&with(one, &format!("{shared}{queue}")), &[]).expect("a connector");
    assert_eq!(config.node.roles.names(), ["connector"]);
    assert!(config.is_clustered());
    let api = load(&with("[\"api\"]", &format!("{shared}{SHARED}")), &[]);
    assert!(api.is_ok(), "REST commits by itself");
    assert!(load(&with("\"connector, transfer\"", shared), &[]).is_ok(), "and so do both");
    assert!(refusal(queue, &[]).contains("store.url is missing"));
    assert!(refusal(&with("[]", ""), &[]).contains("at least one"));
    assert!(refusal(&with("[\"master\"]", ""), &[]).contains("connector, transfer, api"));
    let wrong = refusal("[queue]\nurl = \"http://me:secret@host\"", &[]);
    assert!(wrong.contains("amqp://") && !wrong.contains("secret"), "{wrong}");
    for (wrong, why) in [("", "not a name"), ("a b", "not a name"), (&*"a".repeat(101), "longer")] {
        let refused = refusal(&format!("[queue]\nname = \"{wrong}\""), &[]);
        assert!(refused.contains(why), "{refused}");
    }
}

const SHARED: &str = "[files]\nshared = true\npath = \"/mnt/files\"";

#[test]
fn files_are_where_every_server_finds_them_or_the_start_is_refused() {
    let mysql = ("ANSER_STORE__URL", "mysql://anser@db/anser");
    let refused = refusal("", &[mysql]);
    assert!(refused.contains("files.shared must be said"), "{refused}");
    let refused = refusal("[files]\nshared = true", &[mysql]);
    assert!(refused.contains("files.path must be set"), "{refused}");
    let config = load(SHARED, &[mysql]).expect("a configuration").files;
    assert_eq!((config.shared, config.path), (true, Some("/mnt/files".into())));
    let s3 = [("ANSER_FILES__STORE", "s3://chat/files/"), mysql];
    let refused = refusal("", &s3);
    assert!(refused.contains("files.s3_access_key_id"), "{refused}");
    let key = "[files]\ns3_access_key_id = \"anser\"\ns3_secret_access_key = \"hush\"";
    let store = load(key, &s3).expect("a configuration").files.store.expect("a bucket");
    assert_eq!((&*store.bucket, &*store.prefix), ("chat", "files"));
    for wrong in ["chat", "s3://", "s3:///files", "s3://hush@chat", "https://chat"] {
        let refused = refusal("", &[("ANSER_FILES__STORE", wrong)]);
        assert!(refused.contains("s3://bucket/prefix") && !refused.contains("hush"), "{refused}");
    }
}

#[test]
fn the_key_of_the_store_of_files_is_not_shown() {
    let mut loader = Loader::default();
    let variable = |key: &str| (format!("ANSER_FILES__{key}"), "hush".to_owned());
    loader.environment([variable("S3_SECRET_ACCESS_KEY")]).expect("a variable");
    let shown = |setting: &&super::Setting| setting.key == "files.s3_secret_access_key";
    let shown = loader.settings().iter().find(shown).expect("a setting").value.clone();
    assert_eq!(shown, "…");
    let config = loader.finish().expect("a configuration");
    assert!(!format!("{config:?}").contains("hush"), "{config:?}");
    assert_eq!(config.files.s3_secret_access_key.reveal(), "hush");
}

#[test]
fn tls_of_the_link_is_whole_or_not_there() {
    let all = [("tls_ca", "/ca.pem"), ("tls_cert", "/node.pem"), ("tls_key", "/node.key")];
    let with = |listen: &str, files: &[(&str, &str)]| {
        let file = |(name, path): &(&str, &str)| format!("{name} = \"{path}\"\n");
        let files: String = files.iter().map(file).collect();
        format!("[link]\nlisten = \"{listen}\"\n{files}")
    };
    let here = "127.0.0.1:1";
    for (left_out, (name, _)) in all.iter().enumerate() {
        let mut some = all.to_vec();
        some.remove(left_out);
        let refused = refusal(&with(here, &some), &[]);
        assert!(refused.contains(&format!("link.{name} is missing")), "{refused}");
        let refused = refusal(&with(here, &all[left_out..=left_out]), &[]);
        assert!(refused.contains("is missing: TLS of the link"), "{refused}");
    }
    let public = "10.0.0.1:1";
    assert!(refusal(&with(public, &[]), &[]).contains("link.listen"));
    let link = load(&with(public, &all), &[]).expect("others can not listen in").link;
    assert_eq!(link.tls_key, Some("/node.key".into()));
}

#[test]
fn traces_go_to_a_url_and_are_of_a_share() {
    let to = |endpoint: &str, sample: &str| {
        load(&format!("[trace]\nendpoint = \"{endpoint}\"\nsample = {sample}"), &[])
    };
    let trace = to("http://127.0.0.1:4317", "0.25").expect("a configuration").trace;
    assert_eq!(trace.endpoint.as_deref(), Some("http://127.0.0.1:4317"));
    assert_eq!(Some(trace.sample), super::Share::new(0.25));
    for (endpoint, sample, why) in [
        ("127.0.0.1:4317", "1", "http://host:port"),
        ("http://me:hush@host", "1", "http://host:port"),
        ("", "1.5", "from 0 to 1"),
        ("", "-1", "from 0 to 1"),
    ] {
        let refused = to(endpoint, sample).expect_err("must be refused").to_string();
        assert!(refused.contains(why) && !refused.contains("hush"), "{refused}");
    }
}
