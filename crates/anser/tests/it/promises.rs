//! The promises of docs/guarantees.md: a file for each, the names of its tests begin with its
//! number. Everything goes through the real SDK or raw frames, over real sockets.

mod p1;
mod p10;
mod p1_strace;
mod p2;
mod p3;
mod p4;
mod p5;
mod p6;
mod p7;
mod p8;
mod p9;
