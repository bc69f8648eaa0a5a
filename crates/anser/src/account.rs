//! The account that a command of a person acts for: where its state is, how it logs in, and what its
//! end means. Shared by `chat`, `send` and `tail`.
//!
//! The state (session, outbox, messages) is one file per server and user, so a password is asked for
//! once. One process at a time can have it open.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anser_client::{
    Client, Credentials, ErrorKind, Events, FileStorage, LoginFuture, Password, Rest, Session,
    Storage as _,
    proto::{
        Code,
        rest::{LoggedIn, Login, Register},
    },
};
use anser_server::config::process_environment;
use anyhow::Context as _;
use clap::Args;
use etcetera::BaseStrategy as _;
use reqwest::Url;

use crate::failure::{Failure, Result};

/// A server that is there answers this soon; with another the command works offline.
const CHECK_PATIENCE: Duration = Duration::from_secs(3);
/// Where the password may be, for scripts.
const PASSWORD_VARIABLE: &str = "ANSER_PASSWORD";
/// The state's file in the account's folder.
const STATE_FILE: &str = "state.redb";

/// Whose account, on which server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Account {
    /// User name; the account is made on first use
    #[arg(long, value_name = "NAME", value_parser = user_name)]
    pub(crate) user: String,
    /// Address of the server's REST interface
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7401")]
    server: String,
    /// Folder of sessions, outboxes and messages [default: anser in the XDG data directory]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Read the password from the first line of standard input (else: ANSER_PASSWORD)
    #[arg(long)]
    password_stdin: bool,
    /// Invitation code, where the server asks for one to make an account
    #[arg(long, value_name = "CODE")]
    invite: Option<String>,
}

impl Account {
    /// Opens the account's state and starts the client. Without a session it logs in first, and makes
    /// the account when there is none; with one it works offline too. `command` names the device in
    /// the list of sessions.
    ///
    /// # Errors
    /// 69: a login is needed and the server can not be reached; 77: it refuses; 1: another process
    /// has the state open, or there is no way to ask for a password.
    pub(crate) async fn open(&self, command: &str) -> Result<(Client, Events)> {
        let folder = self.folder()?;
        make_private(&folder)?;
        let mut storage = FileStorage::open(folder.join(STATE_FILE)).map_err(|error| {
            if error.kind() == ErrorKind::InUse { self.in_use(&folder) } else { error.into() }
        })?;
        // Read even where it is not needed: on standard input it stands before what is sent.
        let given = self.given_password()?;
        let rest = Rest::new(&self.server)?;
        let identity = storage.load()?.identity;
        let needs_login = match &identity {
            Some(identity) => is_ended(&rest, &identity.token).await,
            None => true,
        };
        if needs_login {
            // Before anything is asked: without the server the answer is of no use.
            rest.server().await?;
        }
        let login = Enter { account: self, rest: &rest, device: device_name(command) };
        let session = if needs_login {
            if identity.is_some() && given.is_none() {
                eprintln!("The session of {} was ended.", self.user);
            }
            Session::new(login.enter(given.as_deref()).await?)
        } else {
            Session::stored()
        };
        let renewal = Renewal {
            session,
            password: given.map(|given| Password::new(&self.user, given, device_name(command))),
        };
        Ok(Client::builder(&self.server).storage(storage).open(renewal).await?)
    }

    /// What `Event::Closed` means to the person: the client will not connect again.
    pub(crate) fn ended(&self, code: Option<Code>) -> Failure {
        match code {
            Some(code @ (Code::Unauthenticated | Code::WrongPassword)) => {
                let text = format!(
                    "the session of {} was ended ({}); start the command again to log in",
                    self.user,
                    code.name()
                );
                Failure::not_allowed(anyhow::Error::msg(text))
            }
            Some(code) => Failure::not_allowed(anyhow::Error::msg(code.sentence())),
            None => Failure::check("the connection was closed for good"),
        }
    }

    /// The folder of this account's state.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        let root = match &self.state_dir {
            Some(root) => root.clone(),
            None => etcetera::choose_base_strategy()
                .context("there is no home folder; give --state-dir")?
                .data_dir()
                .join("anser"),
        };
        Ok(root.join(server_folder(&self.server)?).join(&self.user))
    }

    fn in_use(&self, folder: &Path) -> Failure {
        Failure::check(format!(
            "another anser command runs as {} ({}); end it, or use another --state-dir to be a \
             second device",
            self.user,
            folder.display()
        ))
    }

    fn given_password(&self) -> Result<Option<String>> {
        if self.password_stdin {
            let mut line = String::new();
            // Only one line is taken: what follows it is for the command.
            std::io::stdin().read_line(&mut line)?;
            return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
        }
        let variables = process_environment();
        let variable = variables.into_iter().find(|(name, _)| name == PASSWORD_VARIABLE);
        Ok(variable.map(|(_, password)| password))
    }
}

/// One login, and the registration that may come before it.
struct Enter<'a> {
    account: &'a Account,
    rest: &'a Rest,
    device: String,
}

impl Enter<'_> {
    async fn enter(&self, given: Option<&str>) -> Result<LoggedIn> {
        let user = &self.account.user;
        let password = match given {
            Some(password) => password.to_owned(),
            None => self.ask()?,
        };
        match self.log_in(&password).await {
            Err(error) if error.code() == Some(Code::WrongPassword) => {}
            other => return Ok(other?),
        }
        // The server does not tell a wrong password from an unknown name, so that nobody can try out
        // names. Typing the password again says that a new account is meant.
        if given.is_none() {
            eprintln!("There is no account {user} with this password.");
            let again = prompt(&format!("To make a new account {user}, type it once more: "))?;
            if again != password {
                return Err(Failure::not_allowed(anyhow::Error::msg(
                    "nothing was made: the two are not the same, or the password is wrong",
                )));
            }
        }
        let register = Register {
            name: user.clone(),
            password: password.clone(),
            display_name: None,
            invite: self.account.invite.clone(),
        };
        match self.rest.register(&register).await {
            Ok(_) => eprintln!("The account {user} is made."),
            Err(error) if error.code() == Some(Code::NameTaken) => {
                let text = format!("the password is wrong, or the name {user} is taken");
                return Err(Failure::not_allowed(anyhow::Error::msg(text)));
            }
            Err(error) => return Err(self.not_registered(error)),
        }
        Ok(self.log_in(&password).await?)
    }

    async fn log_in(&self, password: &str) -> anser_client::Result<LoggedIn> {
        let login = Login {
            name: self.account.user.clone(),
            password: password.to_owned(),
            device_name: self.device.clone(),
        };
        self.rest.login(&login).await
    }

    fn ask(&self) -> Result<String> {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::check(format!(
                "{} has to log in and there is no terminal to ask for the password; set {} or use \
                 --password-stdin",
                self.account.user, PASSWORD_VARIABLE
            )));
        }
        prompt(&format!("Password of {}: ", self.account.user))
    }

    fn not_registered(&self, error: anser_client::Error) -> Failure {
        let user = &self.account.user;
        match error.code() {
            Some(Code::InviteInvalid) => Failure::not_allowed(anyhow::anyhow!(
                "the password of {user} is wrong; a new account needs a valid --invite code"
            )),
            Some(Code::RegistrationClosed) => Failure::not_allowed(anyhow::anyhow!(
                "user name or password is wrong; this server does not take registrations"
            )),
            _ => error.into(),
        }
    }
}

/// Gives the session that was made at the start, later ones by the password where one was given.
struct Renewal {
    session: Session,
    password: Option<Password>,
}

impl Credentials for Renewal {
    fn login<'a>(&'a self, rest: &'a Rest) -> LoginFuture<'a> {
        Box::pin(async move {
            match (self.session.login(rest).await, &self.password) {
                (Err(_), Some(password)) => password.login(rest).await,
                (ready, _) => ready,
            }
        })
    }
}

/// Whether the server says that the session is no more. Where it says nothing, the session stands.
async fn is_ended(rest: &Rest, token: &str) -> bool {
    let session = rest.with_token(token);
    let answer = tokio::time::timeout(CHECK_PATIENCE, session.me()).await;
    matches!(answer, Ok(Err(error)) if error.code() == Some(Code::Unauthenticated))
}

fn prompt(text: &str) -> Result<String> {
    Ok(rpassword::prompt_password(text)?)
}

fn device_name(command: &str) -> String {
    format!("anser {command}")
}

/// Host, port and path of a server as a folder's name.
fn server_folder(server: &str) -> Result<String> {
    let url = Url::parse(server).ok().filter(|url| url.has_host());
    let wrong =
        || Failure::check(format!("--server {server} is no address such as http://127.0.0.1:7401"));
    let url = url.ok_or_else(wrong)?;
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().map(|port| format!("_{port}")).unwrap_or_default();
    let whole = format!("{host}{port}{}", url.path().trim_end_matches('/'));
    let plain = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' };
    Ok(whole.chars().map(plain).collect())
}

/// Makes the folder, readable by its owner only: it holds sessions and messages.
fn make_private(folder: &Path) -> Result {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let make = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
    };
    make().with_context(|| format!("{} can not be made", folder.display()))?;
    Ok(())
}

/// A name that the server can take. It becomes a folder's name, so nothing else may pass.
fn user_name(name: &str) -> std::result::Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !(3..=32).contains(&name.len()) || !name.chars().all(allowed) || !starts_well {
        return Err("use 3 to 32 of a-z 0-9 . _ - and start with a letter or digit".into());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_one_folder() {
        let folder = |server| server_folder(server).unwrap();
        assert_eq!(folder("http://127.0.0.1:7401"), "127.0.0.1_7401");
        assert_eq!(folder("http://127.0.0.1:7401/"), "127.0.0.1_7401");
        assert_eq!(folder("https://chat.example"), "chat.example_443");
        assert_eq!(folder("https://example/a/../../b"), "example_443_b");
        assert_eq!(folder("http://[::1]:80"), "___1__80");
        assert!(server_folder("127.0.0.1:7401").is_err());
    }

    #[test]
    fn a_name_is_never_a_path() {
        assert_eq!(user_name("alice"), Ok("alice".into()));
        for wrong in ["..", "../x", ".hidden", "a/b", "Alice", "al", "", "a\u{1b}bc"] {
            assert!(user_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
