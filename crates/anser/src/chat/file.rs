//! `/file` and `/save`: what takes time about them, told as it goes.

use std::path::Path;

use anser_client::{Client, Content, Error, File, Outgoing, UploadState, proto::ConversationId};
use tokio::sync::mpsc;

use super::exchange::Answer;
use crate::files;

/// Messages that are looked through for a file.
const SEARCHED: usize = 1_000;

/// Sends the file at a path. Gives the sentence that says so.
pub(super) async fn send(
    client: Client,
    conversation: ConversationId,
    path: String,
    answers: mpsc::Sender<Answer>,
) -> Result<String, Error> {
    let outgoing = Outgoing::open(home(&path))?.with_preview().await;
    let name = outgoing.name.clone();
    let upload = client.send_file(conversation, outgoing)?;
    let mut state = upload.state();
    loop {
        if let UploadState::Uploading { sent, size } = *state.borrow_and_update() {
            let text = format!("{name}: {} sent", files::percent(sent, size));
            // It is only shown: what finds no room now is told by the next one.
            let _ = answers.try_send(Answer::Progress(text));
        }
        tokio::select! {
            sent = upload.sent() => {
                return sent.map(|_| format!("{name} is sent."));
            }
            changed = state.changed() => if changed.is_err() {
                return upload.sent().await.map(|_| format!("{name} is sent."));
            }
        }
    }
}

/// Saves a file in the folder that the program was started in. Gives the sentence that says where.
pub(super) async fn save(
    client: Client,
    conversation: ConversationId,
    name: String,
    answers: mpsc::Sender<Answer>,
) -> Result<String, Error> {
    let Some(file) = newest(&client, conversation, &name)? else {
        let what = if name.is_empty() { "no file".into() } else { format!("no file {name}") };
        return Ok(format!("There is {what} among the newest messages here."));
    };
    let path = files::free_path(Path::new("."), &file.name);
    let mut told = 0;
    let progress = |written| {
        // Hundreds of times a second would be too often for a screen.
        if written >= told {
            told = written + file.size / 100;
            let text = format!("{}: {} saved", file.name, files::percent(written, file.size));
            let _ = answers.try_send(Answer::Progress(text));
        }
    };
    client.save(&file, &path, progress).await?;
    Ok(format!("Saved {} as {}.", files::told(&file), path.display()))
}

/// The newest file that a conversation holds here.
fn newest(
    client: &Client,
    conversation: ConversationId,
    name: &str,
) -> Result<Option<File>, Error> {
    let messages = client.messages(conversation, None, SEARCHED)?;
    Ok(messages.into_iter().rev().find_map(|message| match message.content {
        Content::File(file) if name.is_empty() || file.name == name => Some(file),
        _ => None,
    }))
}

/// `~/` as a shell would take it: people type it here, too.
fn home(path: &str) -> std::path::PathBuf {
    let rest = path.strip_prefix("~/");
    match (rest, etcetera::home_dir()) {
        (Some(rest), Ok(home)) => home.join(rest),
        _ => path.into(),
    }
}
