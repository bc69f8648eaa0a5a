//! Every order in which threads can meet at mailboxes and their registry, tried by loom: the same
//! files as in the product, compiled over loom's locks. A lost wake-up or two locks taken in
//! opposite order end as a deadlock, which loom reports.

mod sync {
    //! loom's mutex with the interface of the one in the product.

    #[derive(Debug, Default)]
    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

#[path = "../mailbox.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled twice on purpose, over two kinds of locks")]
#[expect(dead_code, reason = "the other users of it are not compiled here")]
mod mailbox;
#[path = "../registry.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled twice on purpose, over two kinds of locks")]
#[expect(dead_code, unreachable_pub, reason = "the other users of it are not compiled here")]
mod registry;

use std::{future::poll_fn, sync::Arc};

use anser_proto::{Code, DeviceId, Seq, SessionId, UserId};
use anser_store::NewEntry;
use bytes::Bytes;
use loom::{future::block_on, thread};

use self::{mailbox::Mailbox, registry::Registry};
use crate::link::Doorbell as _;

const USER: UserId = UserId(1);
const DEVICE: DeviceId = DeviceId(2);
const SESSIONS_MAX: usize = 4;

/// Tries every order with so many switches away from a thread that could go on; those it takes to
/// find a bug are few ("Iterative context bounding", Musuvathi and Qadeer, 2007).
const PREEMPTIONS_MAX: usize = 3;

fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(threads);
}

fn entry(seq: Seq) -> NewEntry {
    let mark = anser_store::Mark::Other;
    NewEntry { user: USER, seq, entry: Bytes::from_static(b"entry"), mark }
}

fn session(number: u64) -> Arc<Mailbox> {
    Arc::new(Mailbox::new(USER, DEVICE, SessionId(number)))
}

/// What a session learned until it knew of this entry and this ack, or was closed.
fn learn(mailbox: &Mailbox, head: Seq, acked: Seq) -> Option<Code> {
    let (mut heard_head, mut heard_ack) = (0, 0);
    while heard_head < head || heard_ack < acked {
        let news = block_on(poll_fn(|context| match mailbox.poll_news(context) {
            Some(news) => std::task::Poll::Ready(news),
            None => std::task::Poll::Pending,
        }));
        heard_head = heard_head.max(news.head);
        heard_ack = heard_ack.max(news.acked);
        if news.close.is_some() {
            return news.close;
        }
    }
    None
}

#[test]
fn a_session_learns_what_two_threads_leave_for_it() {
    model(|| {
        let registry = Arc::new(Registry::default());
        let mailbox = session(1);
        registry.online(&mailbox, SESSIONS_MAX).unwrap();
        let other = Arc::clone(&registry);
        let delivering = thread::spawn(move || other.deliver(vec![entry(1)], None));
        let other = Arc::clone(&registry);
        let acking = thread::spawn(move || other.ack(DEVICE, 7));
        assert_eq!(learn(&mailbox, 1, 7), None);
        delivering.join().unwrap();
        acking.join().unwrap();
    });
}

#[test]
fn the_newest_session_stays_and_the_older_one_learns_it() {
    model(|| {
        let registry = Arc::new(Registry::default());
        let older = session(1);
        registry.online(&older, SESSIONS_MAX).unwrap();
        let other = Arc::clone(&registry);
        let leaving = Arc::clone(&older);
        // Its socket broke at the moment at which the device came back.
        let offline = thread::spawn(move || other.offline(&leaving));
        let other = Arc::clone(&registry);
        let refused = thread::spawn(move || other.refused((DEVICE, SessionId(1)), Code::Conflict));
        let newer = session(2);
        registry.online(&newer, SESSIONS_MAX).unwrap();
        // What is committed after a session is online reaches it.
        registry.deliver(vec![entry(1)], None);
        assert_eq!(learn(&newer, 1, 0), None, "nothing that was meant for the older one");
        offline.join().unwrap();
        refused.join().unwrap();
        assert_eq!((registry.len(), registry.holds(DEVICE)), (1, true));
        registry.offline(&newer);
        assert_eq!((registry.len(), registry.holds(DEVICE)), (0, false));
    });
}

#[test]
fn of_two_hellos_at_once_one_is_replaced() {
    model(|| {
        let registry = Arc::new(Registry::default());
        let (one, two) = (session(1), session(2));
        let (other, its) = (Arc::clone(&registry), Arc::clone(&two));
        let hello = thread::spawn(move || other.online(&its, SESSIONS_MAX).unwrap());
        registry.online(&one, SESSIONS_MAX).unwrap();
        hello.join().unwrap();
        assert_eq!(registry.len(), 1);
        registry.deliver(vec![entry(1)], None);
        let told = [learn(&one, 1, 0), learn(&two, 1, 0)];
        let replaced = Some(Code::Replaced);
        assert!(told == [replaced, None] || told == [None, replaced], "{told:?}");
    });
}
