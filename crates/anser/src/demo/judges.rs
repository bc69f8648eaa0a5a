//! What the checks of the demo ask of a device's record and of the ticks of sent messages.

use std::ops::RangeInclusive;

use anser_client::{
    Error, ErrorKind, RelationState, SendHandle, SendState,
    proto::{Code, Seq},
};

use super::received::{Received, Sent, Verdict};

/// The device has exactly what was sent.
pub(super) fn all(sent: &Sent) -> impl Fn(&Received) -> Verdict + use<> {
    let sent = sent.clone();
    move |received| received.verdict(&sent)
}

/// The device shows this state of the relation.
pub(super) fn related(state: RelationState) -> impl Fn(&Received) -> Verdict {
    move |received| match received.relation {
        Some(known) if known == state => Verdict::Complete,
        other => Verdict::Waiting(format!("it shows {other:?}")),
    }
}

/// A number that only rises is there.
pub(super) fn at_least(number: Seq, wanted: Seq, what: &str) -> Verdict {
    if number >= wanted {
        return Verdict::Complete;
    }
    Verdict::Waiting(format!("{what} {number} of {wanted}"))
}

/// This command was refused because its sender is no member, and no other was.
pub(super) fn rejected(received: &Received, client_seq: Seq) -> Verdict {
    match &received.rejected[..] {
        [] => Verdict::Waiting("nothing was said".to_owned()),
        [one] if *one == (client_seq, Some(Code::NotMember)) => Verdict::Complete,
        other => Verdict::Wrong(format!("refused was {other:?}")),
    }
}

/// Every message gets so far, in time.
pub(super) async fn reach(handles: &[SendHandle], wanted: SendState) -> Result<(), String> {
    for handle in handles {
        let reached = match wanted {
            SendState::Delivered => handle.delivered().await,
            SendState::Read => handle.read().await,
            _ => handle.sent().await,
        };
        if let SendState::Failed { code } = reached {
            return Err(format!("command {} failed: {code:?}", handle.client_seq()));
        }
    }
    Ok(())
}

/// Every message is exactly so far now.
pub(super) fn all_are(handles: &[SendHandle], wanted: SendState) -> Result<(), String> {
    match handles.iter().find(|handle| handle.state() != wanted) {
        Some(handle) => Err(format!("command {} is {:?}", handle.client_seq(), handle.state())),
        None => Ok(()),
    }
}

/// The message fails with this code.
pub(super) async fn fails(handle: &SendHandle, code: Code) -> Result<(), String> {
    // Waits for the end: ✓ alone comes for a refused command too, because its number is used.
    match handle.read().await {
        SendState::Failed { code: Some(told) } if told == code => Ok(()),
        other => Err(format!("it is {other:?}")),
    }
}

/// The SDK refused to send at all.
pub(super) fn no_friends(sent: Result<SendHandle, Error>) -> Result<(), String> {
    match sent {
        Err(error) if error.kind() == ErrorKind::NotFriends => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it was taken".to_owned()),
    }
}

/// Texts that tell their place.
pub(super) fn numbered(text: &str, numbers: RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| format!("{text} {number}")).collect()
}
