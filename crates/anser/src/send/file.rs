//! `anser send --file`: one file, with a bar while it goes out.

use std::path::Path;

use anser_client::{
    Client, Event, Events, Outgoing, SendHandle, UploadHandle, UploadState, proto::Seq,
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{Args, friend, is_reached, name_of};
use crate::{
    failure::{Failure, Result},
    files,
};

/// Sends a file and waits until its message is so far as it should be.
///
/// # Errors
/// As `send` without `--file`; 1 also: the file can not be read, or changed meanwhile.
pub(super) async fn run(args: &Args, client: &Client, events: &mut Events, path: &Path) -> Result {
    // Looked at first: without a file there is no reason to wait for the server.
    let outgoing = Outgoing::open(path)?.with_preview().await;
    let name = outgoing.name.clone();
    let conversation = friend(args, client).await?;
    let upload = client.send_file(conversation, outgoing)?;
    let mut following = Following { args, upload, conv_seq: None };
    let handle = following.until_there(client, events).await?;
    let (state, code) = name_of(handle.state());
    if args.json {
        let line = json!({
            "conversation": conversation.to_string(),
            "client_seq": handle.client_seq(),
            "conv_seq": following.conv_seq,
            "state": state,
            "code": code,
            "file": name,
        });
        println!("{line}");
    } else {
        let number = following.conv_seq.unwrap_or_default();
        println!("{state}: {name}, message {number} to {}", args.to);
    }
    Ok(())
}

struct Following<'a> {
    args: &'a Args,
    upload: UploadHandle,
    conv_seq: Option<Seq>,
}

impl Following<'_> {
    /// Ends when the message is as far as it should be. `--timeout` is for each step without
    /// progress.
    async fn until_there(&mut self, client: &Client, events: &mut Events) -> Result<SendHandle> {
        let mut state = self.upload.state();
        let bar = files::bar(0);
        let mut deadline = Instant::now() + self.args.timeout;
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                UploadState::Uploading { sent, size } => {
                    bar.set_length(size);
                    bar.set_position(sent);
                }
                UploadState::Queued(_) => {}
                UploadState::Sent(handle) => {
                    let is_there = is_reached(handle.state(), self.args.with_receipt);
                    if is_there && self.conv_seq.is_some() {
                        bar.finish_and_clear();
                        return Ok(handle);
                    }
                }
                UploadState::Failed { code: Some(_), reason } => {
                    let text = format!("the file was refused: {reason}");
                    return Err(Failure::not_allowed(anyhow::Error::msg(text)));
                }
                UploadState::Failed { code: None, reason } => return Err(Failure::check(reason)),
                UploadState::Cancelled => return Err(self.args.account.ended(None)),
            }
            tokio::select! {
                changed = state.changed() => {
                    changed.map_err(|_| self.args.account.ended(None))?;
                    deadline = Instant::now() + self.args.timeout;
                }
                event = events.next() => match event {
                    Some(Event::Closed { code }) => return Err(self.args.account.ended(code)),
                    Some(Event::Message(message)) if message.device == client.device() => {
                        self.note(message.client_seq, message.conv_seq);
                    }
                    Some(_) => {}
                    None => return Err(self.args.account.ended(None)),
                },
                () = sleep_until(deadline) => return Err(self.time_is_up()),
            }
        }
    }

    fn note(&mut self, client_seq: Seq, conv_seq: Seq) {
        let own = match &*self.upload.state().borrow() {
            UploadState::Queued(handle) | UploadState::Sent(handle) => handle.client_seq(),
            _ => return,
        };
        if own == client_seq {
            self.conv_seq = Some(conv_seq);
        }
    }

    fn time_is_up(&self) -> Failure {
        let limit = humantime::format_duration(self.args.timeout);
        if let UploadState::Sent(_) = &*self.upload.state().borrow() {
            let wanted = format!("{:?}", self.args.with_receipt).to_lowercase();
            return Failure::check(format!("sent, but not {wanted} within {limit}"));
        }
        let text = format!(
            "the server took nothing for {limit}; the next run as {} goes on with the file, which \
             must stay where it is",
            self.args.account.user
        );
        Failure::unavailable(anyhow::Error::msg(text))
    }
}
