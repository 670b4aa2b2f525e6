//! The gateway: everything between a device's tunnel and the connector, joined in `run`.
//! It is a library so that its parts can be tested; the `doorward` binary only parses arguments.
//! Always true: nothing is reached without a `Permit`, and only `access` makes one.

pub mod access;
pub mod admin;
pub mod authority;
pub mod books;
pub mod carry;
pub mod cli;
pub mod config;
pub mod connectors;
pub mod datagrams;
pub mod dataplane;
pub mod denials;
pub mod desk;
pub mod device_config;
pub mod dial;
pub mod dns;
pub mod door;
pub mod duplicates;
pub mod flows;
pub mod gate;
pub mod health;
pub mod http;
pub mod join;
pub mod limits;
pub mod live;
pub mod names;
pub mod outside;
mod page;
pub mod peerfile;
pub mod policies;
pub mod rate;
pub mod reach;
pub mod registration;
#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;
mod routes;
pub mod run;
pub mod sessions;
pub mod shadow;
pub mod signals;
pub mod snapshot;
pub mod socket;
pub mod status;
pub mod steward;
pub mod table;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod truth;
pub mod unknown;
pub mod when;
