//! The SDK against a scripted server: every frame that it gets and gives is decided by the test.

mod ends;
mod inbox;
mod outbox;
mod renew;
mod reset;
mod storage;
mod support;
