//! The front with real sockets on both sides: a raw client, and an app that writes down every byte.

mod answers;
mod app;
pub(crate) mod client;
mod cuts;
mod h2;
mod https;
mod requests;
mod world;
