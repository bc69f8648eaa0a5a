//! Tests of REST and the admin interface against a real embedded store. The doorbell is a recorder.

mod accounts;
mod admin;
mod conversations;
mod document;
mod files;
mod hostile;
mod layer;
mod listener;
mod product;
mod relations;
mod requests;
mod roles;
mod sessions;
mod world;

use world::{Answer, Ring, World};
