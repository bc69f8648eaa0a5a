//! What the tests are written with.

pub(crate) mod audit;
pub(crate) mod certificates;
pub(crate) mod cli;
pub(crate) mod collector;
pub(crate) mod database;
pub(crate) mod layout;
pub(crate) mod left_out;
pub(crate) mod people;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod repository;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod view;
