//! The agent at a site: dials the gateways and opens what they ask for, if the site's rules allow it.
//! It listens on nothing, knows no policy and stores nothing; what is public of it also serves the
//! gateway, which is the other end of the link and its own agent for the site `local`.
//! Always true: only an address that the site's own rules permit is dialled, and that very address.

mod agent;
mod backoff;
pub mod config;
pub mod datagrams;
pub mod dial;
mod exchange;
mod flow;
mod gateways;
pub mod join;
pub mod key;
mod link;
pub mod quic;
pub mod relay;
pub mod socket;
pub mod wire;

pub use self::{
    agent::{Connector, StartError},
    config::Config,
};
