//! The Rust SDK of Anser: chat that loses nothing, offline too.
//!
//! A [`Client`] is one device of a user: a cheap handle to one task that connects, reconnects,
//! resends and stores. What happens comes as typed [`Event`]s; what is sent waits in a durable
//! outbox until the server has it, exactly once.
//!
//! ```no_run
//! use anser_client::{Client, Content, Event, FileStorage, Password};
//!
//! # async fn example() -> anser_client::Result<()> {
//! // Works offline too, once this file has a device. One file is one device.
//! let (client, mut events) = Client::builder("http://127.0.0.1:7401")
//!     .storage(FileStorage::open("alice.redb")?)
//!     .open(Password::new("alice", "correct horse", "laptop").or_register())
//!     .await?;
//!
//! // Returns when the message is in the outbox, on disk. The handle tells what becomes of it.
//! let bob = client.find_user("bob").await?;
//! if let Some(conversation) = client.conversation_with(bob.id) {
//!     let sent = client.send(conversation, "hello")?;
//!     if let Some(failure) = sent.delivered().await.failure() {
//!         eprintln!("not sent: {}", failure.reason);
//!     }
//! }
//!
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Message(message) => match message.content {
//!             Content::Text(text) => {
//!                 println!("{}: {text}", message.sender);
//!                 client.mark_read(message.conversation, message.conv_seq)?;
//!             }
//!             other => println!("{}: {other:?}", message.sender),
//!         },
//!         Event::Lagged { missed } => println!("{missed} events missed: read `messages` again"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What the SDK takes care of, so that an application need not:
//!
//! - A message is sealed once, when it is put into the outbox, and resent byte for byte until the
//!   server's log names it. An entry is acked only after the storage has it.
//! - When the connection breaks, it waits a random time that grows, asks for connectors, and
//!   resumes where the storage is.
//! - When the server can not continue ([`Event::Reset`]) or the device can not
//!   ([`Event::NewDevice`]: its session was revoked, or its storage is an old copy), it takes a
//!   snapshot, fetches the messages that it lacks, and moves over what was not sent.
//! - A file ([`Client::send_file`]) is sealed and uploaded part by part, goes on where it broke,
//!   also after a restart, and its message is put into the outbox when all of it is there.
//!   [`Client::save`] fetches one, and checks every piece.
//! - A body that does not open is a message too, with the reason ([`Content::Unreadable`]).
//!
//! Numbers named `conv_seq` count the messages of one conversation from 1; `client_seq` counts the
//! commands of one device. Times are milliseconds since 1970 UTC, for display only.

mod builder;
mod client;
mod credentials;
mod download;
mod error;
mod event;
mod file;
mod handle;
mod history;
mod model;
mod outbox;
mod picture;
#[cfg(feature = "preview")]
mod preview;
mod rest;
mod sealing;
mod shared;
mod storage;
mod task;
mod upload;

pub use builder::{Builder, Transport};
pub use client::Client;
pub use credentials::{Credentials, LoginFuture, Password, Session};
pub use error::{Error, ErrorKind, Result};
pub use event::{
    ConnectionState, Content, Event, Events, Message, Relation, RelationState, Unreadable, Waiting,
};
pub use file::File;
pub use handle::{Failure, SendHandle, SendState};
pub use history::Page;
pub use rest::{Authorized, Range, RelationAction, Rest};
pub use storage::{
    Change, FileStorage, Identity, MemoryStorage, Saved, SavedRelation, SavedUpload, Storage,
    Watermarks,
};
pub use upload::{Outgoing, UploadHandle, UploadState};

/// Ids, codes and REST bodies.
pub use anser_proto as proto;

/// Keeps the Rust of docs/embed.md in step.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embed.md")]
struct EmbedDoc;
