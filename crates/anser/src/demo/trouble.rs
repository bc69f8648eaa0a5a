//! The chapters in which something goes wrong: the server dies, and people write who may not.

use anser_client::{
    FileStorage, RelationAction, RelationState, SendState, Storage as _,
    proto::{Code, Seq},
};

use super::{
    day::Day,
    device::Device,
    judges::{all, at_least, fails, no_friends, numbered, reach, rejected, related},
    received::Received,
    stage::forged_friendship,
};

/// Messages written while the server dies, and while it is down.
const BURST: (usize, usize) = (150, 50);
/// The server is killed when the phone has so many messages of the burst.
const KILL_AT: usize = 40;

/// Messages from the train, and how often its network breaks.
const TUNNELS: (usize, usize) = (600, 30);

impl Day<'_> {
    /// The server dies.
    pub(super) async fn power_cut(&mut self, tablet: &Device) -> anyhow::Result<()> {
        self.checks.chapter("4. The server is killed in the middle of a burst");
        let (first, second) = (numbered("Burst", 1..=BURST.0), BURST.0 + 1..=BURST.0 + BURST.1);
        let before = self.sent.count();
        let (client, chat) = (self.laptop.client()?.clone(), self.chat);
        for text in &first {
            self.sent.add(client.user(), text.clone());
        }
        // Beside the story, so that the kill comes while it writes.
        let writer = tokio::task::spawn_blocking(move || {
            first.into_iter().map(|text| client.send(chat, text)).collect::<Result<Vec<_>, _>>()
        });
        let begun = move |got: &Received| {
            let came = got.count().saturating_sub(before);
            at_least(came as Seq, KILL_AT as Seq, "of the burst came:")
        };
        self.checks.got("the burst is on its way", &self.phone, begun).await;
        self.stage.kill_server().await?;
        self.checks.say("SIGKILL. Alice and Bob go on writing.");
        let mut handles = writer.await??;
        handles.extend(self.alice_writes(&numbered("Burst", second))?);
        let answers = self.bob_writes(&numbered("Are you there?", 1..=BURST.1))?;
        let waiting = self.laptop.client()?.outbox_len();
        let result = if waiting >= BURST.1 { Ok(()) } else { Err(format!("only {waiting}")) };
        self.checks.holds("what the server did not take waits in the outbox", result);
        self.checks
            .say(&format!("{waiting} of Alice's messages wait. The server is started again."));
        self.stage.start_server_again().await?;
        self.both_have_all("has everything, once, in order").await;
        let name = "Bob's tablet has everything, once, in order";
        self.checks.got(name, tablet, all(&self.sent)).await;
        self.all_agree(tablet);
        let delivered = reach(&handles, SendState::Delivered);
        self.checks.comes("all of Alice's are delivered", delivered).await;
        let delivered = reach(&answers, SendState::Delivered);
        self.checks.comes("and all of Bob's", delivered).await;
        self.bob_reads()?;
        let read = reach(&handles, SendState::Read);
        self.checks.comes("and all read, once he has read them", read).await;
        Ok(())
    }

    /// The connection breaks while messages are on their way.
    pub(super) async fn tunnels(&mut self) -> anyhow::Result<()> {
        self.checks.chapter("5. Alice's train goes through tunnels");
        self.laptop.leave().await?;
        self.laptop.come_back_without_network().await?;
        self.checks.say(&format!("She writes {} messages without network.", TUNNELS.0));
        self.alice_writes(&numbered("From the train", 1..=TUNNELS.0))?;
        self.laptop.leave().await?;
        self.checks.say("The network comes, and breaks again and again while they are sent.");
        let tunnel = self.stage.tunnel(TUNNELS.1).await?;
        self.laptop.come_back_through(tunnel.address()).await?;
        self.both_have_all("has everything, once, in order").await;
        let breaks = tunnel.breaks();
        let enough = if breaks > 1 { Ok(()) } else { Err(format!("it broke {breaks} times")) };
        self.checks.holds("though it broke on the way", enough);
        let newest = self.sent.count() as Seq;
        let delivered = move |got: &Received| at_least(got.ticks.0, newest, "delivered up to");
        self.checks.got("all are delivered", &self.laptop, delivered).await;
        self.checks.say(&format!("It broke {breaks} times."));
        self.laptop.leave().await?;
        self.laptop.come_back().await
    }

    /// Who may not write is told so.
    pub(super) async fn strangers(&mut self) -> anyhow::Result<()> {
        self.checks.chapter("6. Who is no friend is refused, and told so");
        let plan = self.stage.plan("Mallory's computer", "mallory");
        let file = plan.file.clone();
        let mut stranger = Device::new(plan, self.sent.clone()).await?;
        let refused = stranger.client()?.send(self.chat, "Hello, strangers");
        self.checks.holds("Mallory's SDK refuses: no friends, no key", no_friends(refused));
        self.checks
            .say("Mallory forges an address book that says the opposite, with a made-up key.");
        stranger.leave().await?;
        let mut storage = FileStorage::open(&file)?;
        storage.apply(&[forged_friendship(self.chat, self.alice)])?;
        drop(storage);
        stranger.come_back().await?;
        let handle = stranger.client()?.send(self.chat, "Hello again, strangers")?;
        let told = fails(&handle, Code::NotMember);
        self.checks.comes("the server refuses, and Mallory is told: not_member", told).await;
        stranger.leave().await?;

        self.checks.say("Bob ends the friendship while Alice is on a train without network.");
        self.laptop.leave().await?;
        let remove = RelationAction::Remove;
        self.phone.client()?.change_relation(self.alice, remove).await?;
        self.laptop.come_back_without_network().await?;
        let client_seq = self.laptop.client()?.send(self.chat, "Still friends?")?.client_seq();
        self.laptop.leave().await?;
        self.laptop.come_back().await?;
        let told = move |got: &Received| rejected(got, client_seq);
        self.checks
            .got("her waiting message is refused, and she is told", &self.laptop, told)
            .await;
        let name = "her laptop shows that they are no friends";
        self.checks.got(name, &self.laptop, related(RelationState::None)).await;
        let refused = self.laptop.client()?.send(self.chat, "Hello?");
        self.checks.holds("her next one is refused at once, with the reason", no_friends(refused));
        Ok(())
    }
}
