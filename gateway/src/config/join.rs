//! `[join]`: what stands on the internet: back-channel logout, and nothing that signs anybody in.
//! Absent: nothing stands there, and providers cannot end sessions by themselves.

use std::net::SocketAddr;

use protocol::config::Section;

use super::{dns::Dns, gateway::read_listen, text::DnsName};

/// `[join]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Its public name; a certificate of `[tls]` has it.
    pub name: String,
    /// Where it listens (TCP); never empty.
    pub listen: Vec<SocketAddr>,
}

pub(super) fn read(s: &mut Section<'_>, dns: Option<&Dns>) -> Option<Join> {
    let usual = dns.and_then(|dns| dns.zones.first()).map(|zone| DnsName(format!("join.{zone}")));
    s.optional_section("join", |s| {
        let name = s.optional_text("name").or(usual)?;
        let listen = read_listen(s, r#"["0.0.0.0:443", "[::]:443"]"#)?;
        Some(Join { name: name.0, listen })
    })
}
