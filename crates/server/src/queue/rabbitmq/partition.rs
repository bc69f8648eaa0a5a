//! A transfer's end of one partition: what has come and was not taken, what was taken and is not
//! settled.

use std::collections::VecDeque;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::codec::Message;
use crate::queue::{Partition, Receipt, Taken, lane};

/// Shared by the task that talks to RabbitMQ and the one that takes.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    held: Mutex<Held>,
    /// For the one that takes.
    filled: Notify,
    /// For the one that talks to RabbitMQ.
    settled: Notify,
}

/// Bounded by the prefetch: RabbitMQ sends no more than that unsettled.
#[derive(Debug, Default)]
struct Held {
    /// Numbers the subscriptions; a receipt of another one means nothing.
    subscription: u64,
    waiting: VecDeque<Arrived>,
    /// Whether what waits may be taken.
    open: bool,
    /// The highest delivery that was taken.
    taken: u64,
    /// The highest delivery that was settled.
    settled: u64,
    /// The highest delivery that was acked.
    acked: u64,
    /// Something was given back: an ack is of all deliveries up to one, so there are no more.
    given_back: bool,
    closed: bool,
}

/// A message with what RabbitMQ calls it.
#[derive(Debug)]
struct Arrived {
    delivery: u64,
    message: Message,
}

impl Inbox {
    /// A new subscription: what the last one brought comes again.
    pub(super) fn begin(&self) {
        let mut held = self.held.lock();
        let (subscription, closed) = (held.subscription + 1, held.closed);
        *held = Held { subscription, closed, open: true, ..Held::default() };
    }

    /// The subscription is over.
    pub(super) fn end(&self) {
        self.pause();
        // Its receipts mean nothing any more.
        self.held.lock().subscription += 1;
    }

    /// Nothing more is given out; what waits goes back to RabbitMQ.
    pub(super) fn pause(&self) {
        let mut held = self.held.lock();
        held.open = false;
        held.waiting.clear();
    }

    /// There is nothing to take, and never will be.
    pub(super) fn close(&self) {
        self.held.lock().closed = true;
        self.pause();
        self.filled.notify_one();
    }

    /// A message came.
    pub(super) fn arrived(&self, delivery: u64, message: Message) {
        let mut held = self.held.lock();
        if held.open {
            held.waiting.push_back(Arrived { delivery, message });
            drop(held);
            self.filled.notify_one();
        }
    }

    /// Messages that came and were not taken.
    #[cfg(test)]
    pub(super) fn waits(&self) -> usize {
        self.held.lock().waiting.len()
    }

    /// Waits for a delivery up to which all can be acked.
    pub(super) async fn to_ack(&self) -> u64 {
        loop {
            let settled = self.settled.notified();
            if let Some(delivery) = self.settled_now() {
                return delivery;
            }
            settled.await;
        }
    }

    /// Whether all that was taken was settled, and told to be acked.
    pub(super) fn is_settled(&self) -> bool {
        let held = self.held.lock();
        held.acked >= held.taken
    }

    /// See [`Self::to_ack`], without waiting.
    pub(super) fn settled_now(&self) -> Option<u64> {
        let mut held = self.held.lock();
        let news = held.settled > held.acked;
        held.acked = held.acked.max(held.settled);
        news.then_some(held.settled)
    }
}

#[async_trait]
impl Partition for Inbox {
    async fn take(&self) -> Option<Taken> {
        loop {
            let filled = self.filled.notified();
            {
                let mut held = self.held.lock();
                if held.closed {
                    return None;
                }
                if let Some(taken) = held.take() {
                    return Some(taken);
                }
            }
            filled.await;
        }
    }

    fn settle(&self, receipt: Receipt) {
        let mut held = self.held.lock();
        if receipt.connection == held.subscription && !held.given_back {
            held.settled = held.settled.max(receipt.delivery);
            drop(held);
            self.settled.notify_one();
        }
    }

    fn give_back(&self, receipt: Receipt) {
        let mut held = self.held.lock();
        held.given_back |= receipt.connection == held.subscription;
    }

    fn is_durable(&self) -> bool {
        true
    }
}

impl Held {
    /// Whole messages, up to a batch.
    fn take(&mut self) -> Option<Taken> {
        let Arrived { mut delivery, message } = self.waiting.pop_front()?;
        let bytes_of =
            |message: &Message| message.records.iter().map(lane::bytes_of).sum::<usize>();
        let mut bytes = bytes_of(&message);
        let mut published = message.published;
        let mut from = vec![(message.connector, message.records.len())];
        let mut records = message.records;
        while let Some(next) = self.waiting.front() {
            bytes += bytes_of(&next.message);
            let count = records.len() + next.message.records.len();
            if count > lane::BATCH_RECORDS_MAX || bytes > lane::BATCH_BYTES_MAX {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            delivery = next.delivery;
            published = published.min(next.message.published);
            from.push((next.message.connector, next.message.records.len()));
            records.extend(next.message.records);
        }
        self.taken = delivery;
        let receipt = Receipt { connection: self.subscription, delivery };
        Some(Taken { records, from, published, receipt })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use anser_proto::{DeviceId, NodeId, UserId};
    use anser_store::Record;

    use super::*;

    /// One message is a batch: it is too long for another one beside it.
    fn message() -> Message {
        let (user, device) = (UserId(1), DeviceId(2));
        let (delivered, store_position) = (Vec::new(), true);
        let ack = Record::Ack { user, device, position: 1, delivered, store_position };
        let records = vec![ack; lane::BATCH_RECORDS_MAX];
        let (epoch, connector) = (String::new(), NodeId(3));
        Message { epoch, connector, published: Instant::now(), records }
    }

    #[tokio::test]
    async fn behind_what_was_given_back_nothing_is_acked() {
        let inbox = Inbox::default();
        inbox.begin();
        for delivery in 1..=3 {
            inbox.arrived(delivery, message());
        }
        let first = inbox.take().await.unwrap().receipt;
        let [second, third] = [inbox.take().await.unwrap(), inbox.take().await.unwrap()];
        inbox.settle(first);
        assert_eq!(inbox.settled_now(), Some(1));
        inbox.give_back(second.receipt);
        inbox.settle(third.receipt);
        assert_eq!(inbox.settled_now(), None, "an ack of 3 is one of 2");
        inbox.begin();
        inbox.arrived(1, message());
        let again = inbox.take().await.unwrap().receipt;
        inbox.settle(again);
        assert_eq!(inbox.settled_now(), Some(1), "they came again");
    }
}
