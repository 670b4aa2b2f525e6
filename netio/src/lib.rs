//! The system calls: private namespaces, TUN devices, UDP and TCP sockets, waiting for all of them.
//! It knows no protocol above the headers it must read and makes no decision about traffic.
//! Always true: `unsafe` lives in the module `sys` and nowhere else in the workspace; in private
//! mode nothing of the host's network is changed; a failed set-up names the setting to change.

pub mod device_ns;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gateway_ns;
pub mod helper;
mod keeper;
pub mod limits;
pub mod memory;
mod netlink;
mod netns;
pub mod poll;
mod resolver;
mod ruleset;
pub mod shards;
mod sys;
mod sysctl;
pub mod tcp;
pub mod tun;
pub mod udp;
pub mod vnet;
mod wire;

pub use error::{SetUpError, Step};
