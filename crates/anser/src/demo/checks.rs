//! Tells the story and its checks, counts them, and lets none wait for ever.

use std::{future::Future, time::Duration};

use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{
    device::Device,
    received::{Received, Verdict},
};

/// One check waits at most so long: a healthy server needs milliseconds.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// The checks of one run.
pub(super) struct Checks {
    as_json: bool,
    started: Instant,
    deadline: Instant,
    chapter: String,
    /// What is under way, to be told when time is up.
    current: String,
    passed: usize,
    failed: usize,
}

impl Checks {
    /// Starts the clock; after `limit` nothing waits any more.
    pub(super) fn start(as_json: bool, limit: Duration) -> Self {
        let started = Instant::now();
        Self {
            as_json,
            started,
            deadline: started + limit,
            chapter: String::new(),
            current: "starting".to_owned(),
            passed: 0,
            failed: 0,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Begins a chapter.
    pub(super) fn chapter(&mut self, title: &str) {
        title.clone_into(&mut self.chapter);
        title.clone_into(&mut self.current);
        if !self.as_json {
            println!("\n{title}");
        }
    }

    /// A sentence of the story.
    pub(super) fn say(&mut self, text: &str) {
        text.clone_into(&mut self.current);
        if !self.as_json {
            println!("  {text}");
        }
    }

    /// A check that is decided already.
    pub(super) fn holds(&mut self, name: &str, result: Result<(), String>) {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok(()) => self.passed += 1,
            Err(_) => self.failed += 1,
        }
        if self.as_json {
            let (passed, detail) = (result.is_ok(), result.err());
            let chapter = &self.chapter;
            let line = json!({
                "chapter": chapter, "check": name, "passed": passed, "detail": detail, "at_ms": ms,
            });
            println!("{line}");
        } else {
            match result {
                Ok(()) => println!("    ✓ {name}"),
                Err(why) => println!("    ✗ {name}: {why}"),
            }
        }
    }

    /// A check that `future` decides in time.
    pub(super) async fn comes<T>(&mut self, name: &str, future: impl Future<Output = T>)
    where
        T: Into<Outcome>,
    {
        let until = self.wait_for(name);
        let result = match timeout_at(until, future).await {
            Ok(outcome) => outcome.into().0,
            Err(_) => Err("it did not happen in time".to_owned()),
        };
        self.holds(name, result);
    }

    /// A check of what a device got: waits until `judge` is content or can not be any more.
    pub(super) async fn got(
        &mut self,
        name: &str,
        device: &Device,
        judge: impl Fn(&Received) -> Verdict,
    ) {
        let until = self.wait_for(name);
        let mut received = device.received();
        let decided = received.wait_for(|got| !matches!(judge(got), Verdict::Waiting(_)));
        // Also when time is up: what is missing is in the verdict.
        let _ = timeout_at(until, decided).await;
        let verdict = judge(&received.borrow());
        self.holds(
            name,
            match verdict {
                Verdict::Complete => Ok(()),
                Verdict::Waiting(why) => Err(format!("{}, and no more in time", why)),
                Verdict::Wrong(why) => Err(why),
            },
        );
    }

    /// The story can not go on.
    pub(super) fn stopped(&mut self, why: &str) {
        let name = format!("the story goes on after \"{}\"", self.current);
        self.holds(&name, Err(why.to_owned()));
    }

    /// The last line.
    pub(super) fn summary(&self) -> String {
        let (passed, failed) = (self.passed, self.failed);
        let seconds = self.started.elapsed().as_secs_f64();
        format!(
            "demo: {} checks, {passed} passed, {failed} failed in {seconds:.1} s",
            passed + failed
        )
    }

    fn wait_for(&mut self, name: &str) -> Instant {
        name.clone_into(&mut self.current);
        (Instant::now() + CHECK_LIMIT).min(self.deadline)
    }
}

/// What an awaited check came to.
pub(super) struct Outcome(Result<(), String>);

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        Self(result)
    }
}

impl From<anser_client::Result<()>> for Outcome {
    fn from(result: anser_client::Result<()>) -> Self {
        Self(result.map_err(|error| error.to_string()))
    }
}
