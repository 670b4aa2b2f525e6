//! A WireGuard configuration, as `wg-quick` takes it and `doorward device config` prints it, read
//! into types; all mistakes at once, with their lines.
//! It resolves no name and runs no hook (`PostUp` and the like are warned about).
//! Always true: a key we do not know refuses the file; private and preshared keys never show.

mod ini;
mod value;
mod walk;

use std::{
    fmt, fs, io,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use protocol::key::WgKey;
use tunnel::{PrivateKey, peer::PresharedKey};

pub use value::Endpoint;
use walk::{Walk, parsed};

/// What fits into one WireGuard packet on an ordinary 1500-byte line, IPv6 outside.
const DEFAULT_MTU: u16 = 1420;

/// The least an IPv6 link may carry (RFC 8200 §5), and the most we offer.
const MTU_RANGE: std::ops::RangeInclusive<u16> = 1280..=9000;

/// A file that can be used.
#[derive(Debug)]
pub struct Config {
    /// Ourselves.
    pub interface: Interface,
    /// The gateway.
    pub peer: Peer,
    /// What the file asks for and we do not do, and other things worth saying.
    pub warnings: Vec<String>,
}

/// The `[Interface]` section.
#[derive(Debug)]
pub struct Interface {
    /// Our key.
    pub private_key: PrivateKey,
    /// Our addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Domains tried for short names.
    pub search: Vec<String>,
    /// The largest packet inside.
    pub mtu: u16,
}

/// The `[Peer]` section.
#[derive(Debug)]
pub struct Peer {
    /// Its key.
    pub public_key: WgKey,
    /// A secret both ends add to the handshake.
    pub preshared_key: Option<PresharedKey>,
    /// What is reached through it.
    pub allowed_ips: Vec<IpNet>,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Seconds between keepalives.
    pub keepalive: Option<u16>,
}

/// One thing to correct.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, for the person who wrote it.
    pub reason: String,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read at all.
    #[error("cannot read {}: {source}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has mistakes.
    #[error("{0}")]
    Mistaken(Mistakes),
}

/// All mistakes of a file; `Display` prints one a line.
#[derive(Debug)]
pub struct Mistakes {
    file: PathBuf,
    list: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{}: {}", self.file.display(), mistake.line, mistake.reason)?;
        }
        Ok(())
    }
}

/// Reads a file.
pub fn load(file: &Path) -> Result<Config, LoadError> {
    let unreadable = |source| LoadError::Unreadable { file: file.to_owned(), source };
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let mode = fs::metadata(file).map_err(unreadable)?.mode();
    let mut config =
        parse(&text).map_err(|list| LoadError::Mistaken(Mistakes { file: file.to_owned(), list }))?;
    if mode & 0o007 != 0 {
        let name = file.display();
        config
            .warnings
            .push(format!("{name} can be read by everyone and holds a private key: chmod 600 {name}"));
    }
    Ok(config)
}

fn parse(text: &str) -> Result<Config, Vec<Mistake>> {
    let (sections, odd) = ini::read(text);
    let mut mistakes: Vec<_> =
        odd.into_iter().map(|odd| Mistake { line: odd.line, reason: odd.reason }).collect();
    let mut warnings = Vec::new();
    let (mut interface, mut peer) = (None, None);
    let (mut interfaces, mut peers) = (0, 0);
    for section in sections {
        let line = section.line;
        if section.name.eq_ignore_ascii_case("Interface") {
            interfaces += 1;
            interface = read_interface(Walk::new("Interface", section, &mut mistakes), &mut warnings);
        } else if section.name.eq_ignore_ascii_case("Peer") {
            peers += 1;
            peer = read_peer(Walk::new("Peer", section, &mut mistakes));
        } else {
            mistakes.push(Mistake { line, reason: format!("there is no section [{}]", section.name) });
        }
        if interfaces > 1 || peers > 1 {
            let reason = "one [Interface] and one [Peer], the gateway, are supported";
            mistakes.push(Mistake { line, reason: reason.into() });
        }
    }
    for (name, count) in [("Interface", interfaces), ("Peer", peers)] {
        if count == 0 {
            mistakes.push(Mistake { line: 1, reason: format!("the section [{name}] is missing") });
        }
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    match (interface, peer) {
        (Some(interface), Some(peer)) if mistakes.is_empty() => Ok(Config { interface, peer, warnings }),
        _ => Err(mistakes),
    }
}

fn read_interface(mut walk: Walk<'_, '_>, warnings: &mut Vec<String>) -> Option<Interface> {
    let private_key = walk.required("PrivateKey", value::private_key);
    let addresses = walk.some("Address", value::address);
    let mtu = walk.optional("MTU", value::number_in(MTU_RANGE)).unwrap_or(DEFAULT_MTU);
    let (mut dns, mut search) = (Vec::new(), Vec::new());
    for server in walk.list("DNS", value::dns) {
        match server {
            value::Dns::Server(address) => dns.push(address),
            value::Dns::Search(domain) => search.push(domain),
        }
    }
    for hook in ["PreUp", "PostUp", "PreDown", "PostDown"] {
        for entry in walk.take(hook) {
            warnings.push(format!("line {}: {hook} is not run: no hook is", entry.line));
        }
    }
    for key in ["ListenPort", "Table", "FwMark", "SaveConfig"] {
        for entry in walk.take(key) {
            warnings.push(format!("line {}: {key} has no meaning here and is ignored", entry.line));
        }
    }
    walk.finish();
    Some(Interface { private_key: private_key?, addresses, dns, search, mtu })
}

fn read_peer(mut walk: Walk<'_, '_>) -> Option<Peer> {
    let public_key = walk.required("PublicKey", parsed::<WgKey>);
    let preshared_key = walk.optional("PresharedKey", value::preshared);
    let allowed_ips = walk.some("AllowedIPs", value::network);
    let endpoint = walk.required("Endpoint", parsed::<Endpoint>);
    let keepalive = walk.optional("PersistentKeepalive", value::keepalive).flatten();
    walk.finish();
    Some(Peer { public_key: public_key?, preshared_key, allowed_ips, endpoint: endpoint?, keepalive })
}

#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/places.rs"]
mod places;

/// What `fuzz/` feeds with bytes: a device's file becomes a configuration, or mistakes inside it.
#[cfg(any(test, fuzzing))]
pub mod fuzz {
    use super::*;

    /// Whatever the bytes.
    pub fn device_conf(bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match parse(text) {
            Ok(config) => {
                assert!(!config.interface.addresses.is_empty() && !config.peer.allowed_ips.is_empty());
                assert!(MTU_RANGE.contains(&config.interface.mtu) && config.peer.endpoint.port != 0);
                assert_eq!(config.peer.endpoint.to_string().parse(), Ok(config.peer.endpoint));
            }
            Err(mistakes) => places::are_in(text, mistakes.iter().map(|mistake| (mistake.line, 1))),
        }
    }
}

#[cfg(test)]
mod tests;
