//! The Rust SDK of Anser: chat that loses nothing, offline too.
//!
//! A [`Client`] is one device of a user: a cheap handle to one task that connects, reconnects, resends
//! and stores. What happens comes as typed [`Event`]s; what is sent waits in a durable outbox until
//! the server has it, exactly once.
//!
//! ```no_run
//! use anser_client::{Client, Event, FileStorage, Password};
//!
//! # async fn example() -> anser_client::Result<()> {
//! let (client, mut events) = Client::builder("http://127.0.0.1:7401")
//!     .storage(FileStorage::open("alice.redb")?)
//!     .open(Password::new("alice", "correct horse", "laptop").or_register())
//!     .await?;
//! let bob = client.find_user("bob").await?;
//! if let Some(conversation) = client.conversation_with(bob.id) {
//!     client.send(conversation, "hello")?.delivered().await;
//! }
//! while let Some(event) = events.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {:?}", message.sender, message.content);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod credentials;
mod error;
mod event;
mod handle;
mod model;
mod outbox;
mod rest;
mod storage;
mod task;

pub use client::{Builder, Client, Transport};
pub use credentials::{Credentials, LoginFuture, Password, Session};
pub use error::{Error, ErrorKind, Result};
pub use event::{
    ConnectionState, Content, Event, Events, Message, Relation, RelationState, Unreadable, Waiting,
};
pub use handle::{SendHandle, SendState};
pub use rest::{Authorized, Range, RelationAction, Rest};
pub use storage::{
    Change, FileStorage, Identity, MemoryStorage, Saved, SavedRelation, Storage, Watermarks,
};

/// Ids, codes and REST bodies.
pub use anser_proto as proto;
