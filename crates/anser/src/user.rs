//! `anser user`: accounts of the running server, through its admin socket.

use std::io::{IsTerminal as _, Read as _};

use anser_client::proto::rest::{
    User,
    admin::{Accounts, CreateUser, Invite, SetPassword},
};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use crate::{
    account::user_name,
    admin::Admin,
    failure::{Failure, Result},
    global::Global,
    output,
};

/// What to do with accounts.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Make an account; asks for a password
    Add {
        /// 3 to 32 of a-z 0-9 . _ -
        #[arg(value_parser = user_name)]
        name: String,
        /// The name to show
        #[arg(long)]
        display_name: Option<String>,
        /// Make it a sender for the server API
        #[arg(long)]
        system: bool,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List all accounts
    List {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Set a new password; all sessions end
    Passwd {
        /// Whose
        #[arg(value_parser = user_name)]
        name: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// End all sessions and refuse new ones; the data stays
    Disable {
        /// Whose
        #[arg(value_parser = user_name)]
        name: String,
    },
    /// Undo `disable`
    Enable {
        /// Whose
        #[arg(value_parser = user_name)]
        name: String,
    },
    /// Remove an account for good; the name stays reserved
    Remove {
        /// Whose
        #[arg(value_parser = user_name)]
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Make an invitation code, for `registration = "invite"`
    Invite,
}

/// Where a password comes from.
#[derive(Args, Debug)]
pub(crate) struct PasswordArgs {
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// No password: the user logs in only by tokens of the server API
    #[arg(long, conflicts_with = "password_stdin")]
    no_password: bool,
}

/// Does it.
///
/// # Errors
/// The server does not answer (69) or refuses (1, 77).
pub(crate) async fn run(global: &Global, command: Command) -> Result {
    let admin = Admin::of(global)?;
    match command {
        Command::Add { name, display_name, system, password } => {
            let password = password.read()?;
            let user = CreateUser { name, password, display_name, system };
            let made: User = admin.post("/users", &user).await?;
            println!("{} {}", made.id, made.name);
        }
        Command::List { json } => list(&admin, json).await?,
        Command::Passwd { name, password_stdin } => {
            let password = if password_stdin { password_from_stdin() } else { new_password() }?;
            admin.put(&format!("/users/{name}/password"), &SetPassword { password }).await?;
            println!("{name}: password set, sessions ended");
        }
        Command::Disable { name } => {
            admin.done(Method::POST, &format!("/users/{name}/disable")).await?;
            println!("{name} is disabled");
        }
        Command::Enable { name } => {
            admin.done(Method::POST, &format!("/users/{name}/enable")).await?;
            println!("{name} is enabled");
        }
        Command::Remove { name, yes } => {
            if !yes && !confirmed(&name)? {
                return Err(Failure::check("nothing was removed"));
            }
            admin.done(Method::DELETE, &format!("/users/{name}")).await?;
            println!("{name} is removed");
        }
        Command::Invite => {
            let invite: Invite = admin.post("/invites", &json!({})).await?;
            println!("{}", invite.code);
        }
    }
    Ok(())
}

async fn list(admin: &Admin, as_json: bool) -> Result {
    let mut after = String::new();
    loop {
        let mut text = String::new();
        let page: Accounts = admin.get(&format!("/users?limit=200{after}")).await?;
        for user in &page.users {
            if as_json {
                text += &format!("{}\n", serde_json::to_string(user).map_err(anyhow::Error::from)?);
            } else {
                let kind = if user.system { " (system)" } else { "" };
                text += &format!("{:<17} {:<9} {}{kind}\n", user.id, user.state, user.name);
            }
        }
        output::print(&text)?;
        match page.users.last() {
            Some(last) if page.more => after = format!("&after={}", last.id),
            _ => return Ok(()),
        }
    }
}

impl PasswordArgs {
    fn read(&self) -> Result<Option<String>> {
        if self.no_password {
            return Ok(None);
        }
        if self.password_stdin {
            return password_from_stdin().map(Some);
        }
        new_password().map(Some)
    }
}

/// The first line of standard input.
pub(crate) fn password_from_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Asks twice on the terminal, without echo.
pub(crate) fn new_password() -> Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::check(
            "there is no terminal to ask for a password; use --password-stdin",
        ));
    }
    let password = rpassword::prompt_password("Password: ")?;
    if rpassword::prompt_password("Once more: ")? != password {
        return Err(Failure::check("the two are not the same"));
    }
    Ok(password)
}

fn confirmed(name: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::check("there is no terminal to ask; use --yes"));
    }
    eprint!("Remove {name} for good? Type the name again: ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim() == name)
}
