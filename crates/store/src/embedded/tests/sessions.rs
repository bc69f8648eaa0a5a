//! Sessions are in memory here: none outlives the process that knew of it.

use anser_proto::SessionId;

use super::Folder;
use crate::Outcome;
use crate::contract::{World, by, greet};

#[tokio::test]
async fn p2_a_session_ends_with_the_process() {
    let folder = Folder::new();
    let mut world = World::open(&folder).await;
    let (alice, _, conversation) = world.friends().await;
    greet(&world, alice, SessionId(1)).await;
    world.reopen(&folder).await;
    let other = by(SessionId(2), alice.send(1, conversation, "by no session"));
    assert_eq!(world.one(other).await, Outcome::Applied);
}
