//! `[join]`: what stands on the internet: back-channel logout, and nothing that signs anybody in.
//! Absent: nothing stands there, and providers cannot end sessions by themselves.

use std::net::SocketAddr;

use protocol::config::{Mistake, Section};

use super::{
    dns::Dns,
    gateway::read_listen,
    text::{DnsName, is_under},
    tls::Tls,
};

/// `[join]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Its public name; a certificate of `[tls]` has it.
    pub name: String,
    /// Where it listens (TCP); never empty.
    pub listen: Vec<SocketAddr>,
}

pub(super) fn read(
    s: &mut Section<'_>,
    dns: Option<&Dns>,
    tls: &Tls,
    warnings: &mut Vec<Mistake>,
) -> Option<Join> {
    let zones = dns.map(|dns| dns.zones.as_slice()).unwrap_or_default();
    let usual = zones.first().map(|zone| DnsName(format!("join.{zone}")));
    s.optional_section("join", |s| {
        let name = s.optional_text("name").or(usual)?.0;
        warnings.extend(without_certificate(&name, zones, tls).map(|reason| s.at("name", reason)));
        let listen = read_listen(s, r#"["0.0.0.0:443", "[::]:443"]"#)?;
        Some(Join { name, listen })
    })
}

/// What is wrong with how providers would trust it. The built-in authority vouches for its zones only.
fn without_certificate(name: &str, zones: &[String], tls: &Tls) -> Option<String> {
    if tls.in_files(name) {
        return None;
    }
    let built_in = tls.built_in && zones.iter().any(|zone| is_under(name, zone));
    Some(if built_in {
        format!(
            "no [[tls.certificate]] is for {name}: the built-in authority's is shown, and providers will not trust it unless they trust the built-in authority"
        )
    } else {
        format!("no [[tls.certificate]] is for {name}: no provider can sign anybody out here")
    })
}
