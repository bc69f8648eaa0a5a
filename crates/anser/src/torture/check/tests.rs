//! Histories made by hand: what is legal passes, and every rule can fail.
//!
//! A story plays a small correct server and correct clients, and records what they do. A test that
//! wants to see a rule fail changes one thing in such a history.

mod availability;
mod contiguous;
mod files;
mod isolation;
mod legal;
mod loss;
mod order;
mod phantom;
mod receipts;
mod restore;
mod story;
mod twice;
mod waiting;

use std::time::Duration;

use super::{Judgement, judge};
use crate::torture::history::{Message, Record, What};

/// A history in which something happens every 10 ms.
fn records(what: Vec<What>) -> Vec<Record> {
    let at = |index: usize| Duration::from_millis(10 * index as u64);
    what.into_iter().enumerate().map(|(index, what)| Record { at: at(index), what }).collect()
}

/// Judges a history that nothing is wrong with.
fn clean(what: Vec<What>) -> Judgement {
    let records = records(what);
    let judgement = judge(&records);
    for check in &judgement.checks {
        if let Some(failure) = check.failures.first() {
            let shown = super::show(&records, failure);
            panic!("{}: {}\n{shown}", check.name, failure.why);
        }
    }
    assert!(judgement.holds());
    judgement
}

/// Judges a history that breaks a rule: one failure of `check` says so, in words that contain
/// `why`. Others may fail too: one mistake is seen in many views.
fn red(what: Vec<What>, check: &str, why: &str) {
    let judgement = judge(&records(what));
    let found = judgement.checks.iter().find(|one| one.name == check).unwrap();
    assert!(found.failed > 0, "{check} holds; {:?}", whys(&judgement));
    let told = found.failures.iter().find(|failure| failure.why.contains(why));
    let told = told.unwrap_or_else(|| panic!("another failure: {:?}", whys(&judgement)));
    assert!(!told.history.is_empty() && told.history.is_sorted());
    assert!(!judgement.holds());
}

fn whys(judgement: &Judgement) -> Vec<String> {
    let all = judgement.checks.iter();
    all.flat_map(|check| check.failures.iter().map(|one| format!("{}: {}", check.name, one.why)))
        .collect()
}

/// Where something is for the first time.
fn first(what: &[What], is_it: impl Fn(&What) -> bool) -> usize {
    what.iter().position(is_it).expect("the story has it")
}

/// Where something is for the last time.
fn last(what: &[What], is_it: impl Fn(&What) -> bool) -> usize {
    what.iter().rposition(is_it).expect("the story has it")
}

/// Changes all lists of messages that are told in the end.
fn edit_views(what: &mut [What], edit: impl Fn(&mut Vec<Message>)) {
    for what in what {
        if let What::Final { messages, .. } | What::Local { messages, .. } = what {
            edit(messages);
        }
    }
}
