//! Names inside the tunnel: apps by their names, nothing else under our zones, and the rest by the
//! configured resolvers. Foreign names are never logged.
//! Always true: an answer of a resolver never points into the tunnel or a configured subnet, and
//! nothing a device sends makes this panic or wait without end.

mod answer;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod rebinding;
mod relay;
mod tcp;
mod upstream;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use ipnet::IpNet;

pub use self::{
    answer::{Answer, answer},
    relay::{Relay, RelayCounters},
    tcp::serve_tcp,
};

/// What the name server knows.
#[derive(Debug, Clone, Default)]
pub struct DnsView {
    /// Addresses of apps by name, lower case, without trailing dot.
    pub names: HashMap<String, (Ipv4Addr, Ipv6Addr)>,
    /// The zones that are ours whole, written the same way.
    pub zones: Vec<String>,
    /// Who answers for foreign names, best first; empty means nobody.
    pub resolvers: Vec<SocketAddr>,
    /// Networks that a foreign name must not point into.
    pub guarded: Vec<IpNet>,
}
