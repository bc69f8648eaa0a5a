//! No wake-up is lost. Every method of a mailbox is one hold of its lock, so the orders in which
//! threads can meet are the orders of calls: the first test tries all of them on the real type. The
//! second has real threads meet at it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Wake},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use anser_proto::{Code, DeviceId, Seq, SessionId, UserId};
use anser_store::NewEntry;
use bytes::Bytes;

use super::super::mailbox::{ENTRIES_MAX, ENTRY_BYTES_MAX, Mailbox, News};

/// Longer than any wake-up takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);
/// Each pair of delays of the two threads once.
const ROUNDS: Seq = 64 * 64;

fn entry(seq: Seq) -> NewEntry {
    let mark = anser_store::Mark::Other;
    NewEntry { user: UserId(1), seq, entry: Bytes::from_static(b"entry"), mark }
}

/// Notes that it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// What another task does with a mailbox, call by call.
#[derive(Clone, Copy, Debug)]
enum Call {
    Offer(Seq),
    /// If an offer asked for it, as the registry does after the last entry of a batch.
    WakeIfAsked,
    Ack(Seq),
    Close,
}

/// A session's task: polls when it was woken, and again until there is nothing.
#[derive(Default)]
struct Session {
    woken: Arc<Flag>,
    acked: Seq,
    head: Seq,
    entries: Vec<Seq>,
    closed: bool,
}

impl Session {
    fn new() -> Self {
        let session = Self::default();
        session.woken.0.store(true, SeqCst);
        session
    }

    fn is_awake(&self) -> bool {
        self.woken.0.load(SeqCst)
    }

    fn poll(&mut self, mailbox: &Mailbox) {
        let waker = self.woken.clone().into();
        let Some(news) = mailbox.poll_news(&mut Context::from_waker(&waker)) else {
            self.woken.0.store(false, SeqCst);
            return;
        };
        self.acked = self.acked.max(news.acked);
        self.head = self.head.max(news.head);
        self.entries.extend(news.entries.iter().map(|entry| entry.seq));
        self.closed |= news.close.is_some();
    }
}

/// Runs the tasks' calls and the session in the order that `choices` tells, 0 beyond its end.
/// Gives how many choices there were at each step.
fn run(tasks: &[&[Call]], choices: &[usize]) -> (Session, Vec<usize>) {
    let mailbox = Mailbox::new(UserId(1), DeviceId(1), SessionId(1));
    let (mut session, mut options) = (Session::new(), Vec::new());
    let (mut done, mut asked) = (vec![0; tasks.len()], vec![false; tasks.len()]);
    loop {
        let ready = (0..tasks.len()).filter(|task| done[*task] < tasks[*task].len());
        let ready: Vec<_> = ready.map(Some).chain(session.is_awake().then_some(None)).collect();
        if ready.is_empty() {
            return (session, options);
        }
        let choice = choices.get(options.len()).copied().unwrap_or(0);
        options.push(ready.len());
        let Some(task) = ready[choice] else {
            session.poll(&mailbox);
            continue;
        };
        match tasks[task][done[task]] {
            Call::Offer(seq) => asked[task] |= mailbox.offer(&entry(seq), None),
            Call::WakeIfAsked if std::mem::take(&mut asked[task]) => mailbox.wake(),
            Call::WakeIfAsked => {}
            Call::Ack(position) => mailbox.ack(position),
            Call::Close => mailbox.close(Code::Replaced),
        }
        done[task] += 1;
    }
}

#[test]
fn in_every_order_of_calls_the_session_learns_of_all() {
    use Call::*;
    let batches = [Offer(1), Offer(2), WakeIfAsked, Ack(1), Offer(3), WakeIfAsked];
    let tasks: [&[Call]; 3] = [&batches, &[Ack(2)], &[Close]];
    let (mut choices, mut orders) = (Vec::new(), 0);
    loop {
        let (session, options) = run(&tasks, &choices);
        let learned = (session.head, session.acked, session.closed, &session.entries[..]);
        assert_eq!(learned, (3, 2, true, &[1, 2, 3][..]), "in the order {choices:?}");
        orders += 1;
        // The next order: the last step that had another choice takes it.
        choices.resize(options.len(), 0);
        while choices.last().is_some_and(|last| last + 1 == options[choices.len() - 1]) {
            choices.pop();
        }
        let Some(last) = choices.last_mut() else { break };
        *last += 1;
    }
    assert!(orders > 1000, "{orders}");
}

/// Ends the waiting of a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for news; `None` is a wake-up that did not come.
fn learn(mailbox: &Mailbox) -> Option<News> {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if let Some(news) = mailbox.poll_news(&mut context) {
            return Some(news);
        }
        thread::park_timeout(PATIENCE);
    }
    None
}

fn spin(times: u64) {
    (0..times).for_each(|_| std::hint::spin_loop());
}

#[test]
fn threads_that_meet_lose_no_wake_up() {
    let mailbox = Mailbox::new(UserId(1), DeviceId(1), SessionId(1));
    let (turn, lost) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                while turn.load(SeqCst) < round {
                    spin(100);
                    thread::yield_now();
                }
                // Who is first, and by how much, is another pair in each round.
                spin(round % 64);
                if round % 2 == 0 {
                    mailbox.ack(round);
                } else if mailbox.offer(&entry(round), None) {
                    mailbox.wake();
                }
            }
        });
        for round in 1..=ROUNDS {
            turn.store(round, SeqCst);
            spin(round / 64 % 64);
            let news = learn(&mailbox).map(|news| news.acked.max(news.head));
            if news != Some(round) {
                lost.store(true, SeqCst);
                break;
            }
        }
        // Lets the other thread end in any case.
        turn.store(ROUNDS, SeqCst);
    });
    assert!(!lost.load(SeqCst), "a wake-up was lost");
}

#[test]
fn what_does_not_fit_is_left_to_the_log() {
    let poll = |mailbox: &Mailbox| {
        let waker = Arc::new(Flag::default()).into();
        mailbox.poll_news(&mut Context::from_waker(&waker))
    };
    let seqs = |news: &News| news.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>();
    let mailbox = Mailbox::new(UserId(1), DeviceId(1), SessionId(1));
    let offer = |seqs: &[Seq]| {
        for seq in seqs {
            mailbox.offer(&entry(*seq), None);
        }
    };
    let most = ENTRIES_MAX as Seq;
    offer(&(1..=most).collect::<Vec<_>>());
    assert_eq!(poll(&mailbox).map(|news| news.entries.len()), Some(ENTRIES_MAX), "one window");
    offer(&(1..=most + 1).collect::<Vec<_>>());
    let news = poll(&mailbox).unwrap();
    assert_eq!((news.head, seqs(&news)), (most + 1, vec![most + 1]), "the newest, up to the head");

    offer(&[1, 2, 4]);
    let news = poll(&mailbox).unwrap();
    assert_eq!((news.head, seqs(&news)), (4, vec![4]), "never with a hole");

    let half = NewEntry { entry: vec![0; ENTRY_BYTES_MAX / 2].into(), ..entry(5) };
    for _ in 0..2 {
        // What was taken does not count any more.
        mailbox.offer(&half, None);
        mailbox.offer(&NewEntry { seq: 6, ..half.clone() }, None);
        assert_eq!(poll(&mailbox).map(|news| seqs(&news)), Some(vec![5, 6]), "just fits");
    }
    mailbox.offer(&half, None);
    mailbox.offer(&NewEntry { seq: 6, ..half.clone() }, None);
    mailbox.offer(&NewEntry { entry: Bytes::from_static(b"!"), ..entry(7) }, None);
    assert_eq!(poll(&mailbox).map(|news| seqs(&news)), Some(vec![7]), "a byte too much");
    assert!(poll(&mailbox).is_none());
}
