//! The scripted day: each chapter is told, played by the SDK's devices, and checked.

use anser_client::{
    RelationAction, RelationState, SendHandle, SendState,
    proto::{ConversationId, Seq, UserId},
};

use super::{
    checks::Checks,
    device::Device,
    judges::{all, all_are, at_least, numbered, reach, related},
    received::{Received, Sent},
    stage::Stage,
};

/// Messages that wait for somebody who is away.
const WAITING: usize = 25;

/// Everybody in the story, and what they said.
pub(super) struct Day<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) checks: &'a mut Checks,
    pub(super) laptop: Device,
    pub(super) phone: Device,
    pub(super) alice: UserId,
    pub(super) chat: ConversationId,
    pub(super) sent: Sent,
}

/// Plays it all.
///
/// # Errors
/// The story could not go on; failed checks are not errors.
pub(super) async fn play(stage: &mut Stage, checks: &mut Checks) -> anyhow::Result<()> {
    let mut day = Day::morning(stage, checks).await?;
    day.away().await?;
    let mut tablet = day.second_device().await?;
    day.power_cut(&tablet).await?;
    day.tunnels().await?;
    day.strangers().await?;
    day.evening(&mut tablet).await
}

impl<'a> Day<'a> {
    /// Two people meet.
    async fn morning(stage: &'a mut Stage, checks: &'a mut Checks) -> anyhow::Result<Self> {
        checks.chapter("1. Alice and Bob meet and talk");
        let laptop = Device::new(stage.plan("Alice's laptop", "alice"), Sent::default()).await?;
        let phone = Device::new(stage.plan("Bob's phone", "bob"), Sent::default()).await?;
        for device in [&laptop, &phone] {
            let online = device.client()?.online();
            checks.comes(&format!("{} is registered and online", device.name), online).await;
        }
        checks.say("Alice asks Bob to be friends, and he accepts.");
        let bob = laptop.client()?.find_user("bob").await?.id;
        laptop.client()?.befriend(bob).await?;
        checks.got("Bob's phone shows the request", &phone, related(RelationState::Incoming)).await;
        let alice = laptop.client()?.user();
        let accepted = phone.client()?.change_relation(alice, RelationAction::Accept).await?;
        checks.got("Alice's laptop shows a friend", &laptop, related(RelationState::Friends)).await;
        let (chat, sent) = (accepted.id, Sent::default());
        let mut day = Self { stage, checks, laptop, phone, alice, chat, sent };
        day.talk().await?;
        Ok(day)
    }

    async fn talk(&mut self) -> anyhow::Result<()> {
        self.checks.say("They talk.");
        for round in 1..=3 {
            self.alice_writes(&[format!("Hello Bob {round}")])?;
            self.checks
                .got(&format!("her words reach him, round {round}"), &self.phone, all(&self.sent))
                .await;
            self.bob_writes(&[format!("Hello Alice {round}")])?;
            self.checks
                .got(&format!("his words reach her, round {round}"), &self.laptop, all(&self.sent))
                .await;
        }
        let handles = self.alice_writes(&["Do you read this?".to_owned()])?;
        let sent = reach(&handles, SendState::Sent);
        self.checks.comes("sent (✓): the server has it safely", sent).await;
        let delivered = reach(&handles, SendState::Delivered);
        self.checks.comes("delivered (✓✓): Bob's phone has it", delivered).await;
        let unread = all_are(&handles, SendState::Delivered);
        self.checks.holds("it is not called read before Bob reads it", unread);
        self.bob_reads()?;
        let read = reach(&handles, SendState::Read);
        self.checks.comes("read (✓✓): Bob has seen it", read).await;
        Ok(())
    }

    /// One of them is away.
    async fn away(&mut self) -> anyhow::Result<()> {
        self.checks.chapter("2. Bob's phone is off");
        self.phone.leave().await?;
        self.checks.say(&format!("Alice writes {WAITING} messages."));
        let texts = numbered("While you were away", 1..=WAITING);
        let waiting = self.alice_writes(&texts)?;
        let sent = reach(&waiting, SendState::Sent);
        self.checks.comes("sent (✓): they wait at the server", sent).await;
        let name = "Alice's laptop holds them with their numbers";
        self.checks.got(name, &self.laptop, all(&self.sent)).await;
        let honest = all_are(&waiting, SendState::Sent);
        self.checks.holds("none is called delivered", honest);

        let old = self.sent.count();
        self.checks.say("He switches it on while she goes on writing.");
        self.phone.come_back().await?;
        let texts = numbered("There you are", 1..=5);
        let new = self.alice_writes(&texts)?;
        let name = "Bob's phone gets all, once, old before new";
        self.checks.got(name, &self.phone, all(&self.sent)).await;
        let caught_up = move |got: &Received| got.caught_up(old);
        let name = "what had waited was there before \"caught up\"";
        self.checks.got(name, &self.phone, caught_up).await;
        let handles = [waiting, new].concat();
        let delivered = reach(&handles, SendState::Delivered);
        self.checks.comes("Alice's ticks follow: all delivered", delivered).await;
        self.bob_reads()?;
        let read = reach(&handles, SendState::Read);
        self.checks.comes("and all read, once he has read them", read).await;
        Ok(())
    }

    /// One of them gets another device.
    async fn second_device(&mut self) -> anyhow::Result<Device> {
        self.checks.chapter("3. Bob has a second device");
        let plan = self.stage.plan("Bob's tablet", "bob");
        let mut tablet = Device::new(plan, self.sent.clone()).await?;
        let online = tablet.client()?.online();
        self.checks.comes("Bob's tablet is online", online).await;
        self.alice_writes(&numbered("To both", 1..=10))?;
        self.checks.got("the tablet gets every new message", &tablet, all(&self.sent)).await;
        self.both_have_all("too").await;
        self.bob_reads()?;
        let newest = self.sent.count() as Seq;
        let read = move |got: &Received| at_least(got.read, newest, "read up to");
        self.checks.got("what the phone has read, the tablet knows", &tablet, read).await;

        self.checks.say("Both are off; Alice writes; they come back one after the other.");
        self.phone.leave().await?;
        tablet.leave().await?;
        let texts = numbered("To both, later", 1..=10);
        let waiting = self.alice_writes(&texts)?;
        let sent = reach(&waiting, SendState::Sent);
        self.checks.comes("sent (✓): they wait at the server", sent).await;
        self.phone.come_back().await?;
        self.checks.got("the phone gets them", &self.phone, all(&self.sent)).await;
        tablet.come_back().await?;
        let name = "the tablet gets them too: the phone did not use them up";
        self.checks.got(name, &tablet, all(&self.sent)).await;
        self.all_agree(&tablet);
        Ok(tablet)
    }

    /// Everybody meets the server once more, so that nothing can be on its way any longer.
    async fn evening(&mut self, tablet: &mut Device) -> anyhow::Result<()> {
        self.checks.chapter("7. The end of the day");
        let Self { checks, laptop, phone, sent, .. } = self;
        for device in [laptop, phone, tablet] {
            device.leave().await?;
            device.come_back().await?;
            let online = device.client()?.online();
            checks.comes(&format!("{} is up to date", device.name), online).await;
            device.leave().await?;
            let verdict = device.received().borrow().verdict(sent);
            checks.holds(&format!("{} has exactly what was sent", device.name), verdict.into());
        }
        self.all_agree(tablet);
        Ok(())
    }

    /// Writes from Alice's laptop.
    pub(super) fn alice_writes(&mut self, texts: &[String]) -> anyhow::Result<Vec<SendHandle>> {
        self.laptop.write(self.chat, texts, &mut self.sent)
    }

    /// Writes from Bob's phone.
    pub(super) fn bob_writes(&mut self, texts: &[String]) -> anyhow::Result<Vec<SendHandle>> {
        self.phone.write(self.chat, texts, &mut self.sent)
    }

    /// Bob reads everything that was written, on his phone.
    pub(super) fn bob_reads(&self) -> anyhow::Result<()> {
        Ok(self.phone.client()?.mark_read(self.chat, self.sent.count() as Seq)?)
    }

    /// Waits until the laptop and the phone have exactly what was sent.
    pub(super) async fn both_have_all(&mut self, name: &str) {
        self.checks.got(&format!("Alice's laptop {name}"), &self.laptop, all(&self.sent)).await;
        self.checks.got(&format!("Bob's phone {name}"), &self.phone, all(&self.sent)).await;
    }

    /// All devices show the conversation in the same order.
    pub(super) fn all_agree(&mut self, tablet: &Device) {
        let (laptop, phone) = (self.laptop.received(), self.phone.received());
        let phone = phone.borrow();
        let agreed = phone.agrees_with(&laptop.borrow());
        let agreed = agreed.and_then(|()| phone.agrees_with(&tablet.received().borrow()));
        self.checks.holds("all devices show the same messages in the same order", agreed);
    }
}
