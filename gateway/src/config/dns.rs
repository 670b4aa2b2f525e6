//! `[dns]`: the zones that are ours and whom to ask for the rest.

use std::net::SocketAddr;

use protocol::config::Section;

use super::{
    text::{DnsName, Socket},
    tunnel::Tunnel,
    unique::Unique,
};

/// A query goes to one resolver and, unanswered, to the other: more would only make it wait.
const MOST_RESOLVERS: usize = 2;

/// `[dns]`.
#[derive(Debug)]
pub struct Dns {
    /// Lower case, no trailing dot; never empty. The first is the devices' search domain.
    pub zones: Vec<String>,
    /// Asked for names outside the zones; with none, such names fail.
    pub resolvers: Vec<SocketAddr>,
}

pub(super) fn read(s: &mut Section<'_>, tunnel: Option<&Tunnel>) -> Option<Dns> {
    let zones: Option<Vec<DnsName>> = s.texts("zones");
    if s.is_empty_list("zones") {
        s.mistake("zones", "at least one zone is needed: the names of apps lie under it");
    }
    Unique::default().claim_all(s, "zones", zones.iter().flatten());
    let resolvers: Vec<SocketAddr> =
        s.texts_or_empty::<Socket>("resolvers").into_iter().map(|r| r.0).collect();
    Unique::default().claim_all(s, "resolvers", resolvers.iter());
    if resolvers.len() > MOST_RESOLVERS {
        s.mistake("resolvers", format!("{} resolvers; at most {MOST_RESOLVERS}", resolvers.len()));
    }
    for (i, resolver) in resolvers.iter().enumerate() {
        if tunnel.is_some_and(|tunnel| tunnel.contains(resolver.ip())) {
            let reason = format!("{resolver} is inside the tunnel: a query would come back for ever");
            s.mistake(&format!("resolvers[{i}]"), reason);
        }
    }
    Some(Dns { zones: zones?.into_iter().map(|zone| zone.0).collect(), resolvers })
}
