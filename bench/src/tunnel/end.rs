//! One end of a tunnel made by a stock WireGuard daemon (wireguard-go, boringtun-cli), in the
//! foreground so that what it costs can be read. It gives the daemon nothing but its usual options.
//! Always true: after `start` the interface is up with its addresses, routes and peers.

use std::path::{Path, PathBuf};

// Without the colons it would be this file's own tests.
use ::tests::{company::write_secret, device::KeyPair, host::Host, process::Process, wait::eventually};
use anyhow::Result;

/// A daemon's program.
#[derive(Debug, Clone)]
pub struct Daemon {
    path: PathBuf,
    /// What it says of its version.
    pub version: String,
    boring: bool,
}

impl Daemon {
    /// A program, told apart by its name: whose has `boringtun` in it is boringtun-cli.
    pub fn new(host: &Host, path: &Path) -> Result<Self> {
        let mut ask = host.command(path)?;
        ask.arg("--version");
        let said = host.run(&ask)?;
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text).lines().next().unwrap_or("of no known version").to_owned();
        let boring = path.file_name().is_some_and(|name| name.to_string_lossy().contains("boringtun"));
        Ok(Self { path: path.to_owned(), version: text.trim().to_owned(), boring })
    }

    fn options(&self) -> &'static [&'static str] {
        // As many threads as the machine has cores, as it is run in production; it would drop the
        // rights the sandbox has given it.
        if self.boring { &["--foreground", "--disable-drop-privileges", "--threads", "2"] } else { &["-f"] }
    }
}

/// The other side, as this one is told about it.
#[derive(Debug)]
pub struct Peer<'a> {
    /// Its public key.
    pub key: &'a str,
    /// What is behind it, parted by commas.
    pub allowed: &'a str,
    /// Where it listens, if this side is to call it.
    pub endpoint: Option<&'a str>,
}

/// A running daemon.
pub struct End {
    process: Process,
}

/// Its interface.
const LINK: &str = "wg0";

impl End {
    /// Starts `daemon` on `host` with one address and its peers; traffic to them goes into the tunnel.
    pub fn start(
        host: &Host,
        daemon: &Daemon,
        key: &KeyPair,
        address: &str,
        port: u16,
        peers: &[Peer<'_>],
    ) -> Result<Self> {
        let secret = host.folder().join("wg0.key");
        write_secret(&secret, &key.private)?;
        let mut command = host.command(&daemon.path)?;
        command.args(daemon.options()).arg(LINK);
        let process = host.start("daemon", command)?;
        eventually("the daemon answers `wg show`", || host.sh("wg", &["show", LINK]).ok())?;
        let secret = secret.to_string_lossy();
        host.sh("wg", &["set", LINK, "private-key", &secret, "listen-port", &port.to_string()])?;
        for peer in peers {
            let mut set = vec!["set", LINK, "peer", peer.key, "allowed-ips", peer.allowed];
            set.extend(peer.endpoint.into_iter().flat_map(|endpoint| ["endpoint", endpoint]));
            host.sh("wg", &set)?;
        }
        host.ip(&format!("address add {address} dev {LINK}"))?;
        host.ip(&format!("link set {LINK} mtu 1420 up"))?;
        for net in peers.iter().flat_map(|peer| peer.allowed.split(',')) {
            host.ip(&format!("route add {net} dev {LINK}"))?;
        }
        Ok(Self { process })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}
