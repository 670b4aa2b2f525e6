//! `[gateway]`: what devices dial, who the gateway is, where it keeps its state.

use std::{
    net::SocketAddr,
    num::{NonZeroU8, NonZeroUsize},
    path::PathBuf,
};

use protocol::{
    config::{Secret, Section},
    id::GatewayId,
    key::WgKey,
    target::Target,
};
use x25519_dalek::{PublicKey, StaticSecret};

use super::{key_file, text::Socket, unique::Unique};

/// `[gateway]`.
#[derive(Debug)]
pub struct Gateway {
    /// What devices dial; written into their configurations.
    pub endpoint: Target,
    /// Where WireGuard listens; never empty.
    pub listen: Vec<SocketAddr>,
    /// The WireGuard private key.
    pub private_key: Secret<[u8; 32]>,
    /// Where that key was read.
    pub private_key_file: PathBuf,
    /// Which of the gateways that share a store this is.
    pub name: GatewayId,
    /// Folder of the control socket, the store unless it is elsewhere, and the audit log.
    pub state: PathBuf,
    /// The Unix group whose members may open the control socket; what they may do there, policies say.
    pub admins: Option<String>,
    /// In which network namespace the tunnel ends.
    pub namespace: Namespace,
    /// Data-plane threads, if they are given.
    pub shards: Option<NonZeroU8>,
}

impl Gateway {
    /// Data-plane threads: as many as are given, else half of the cores this process may use, 8 at most.
    /// The other half is for what they hand on.
    pub fn shards(&self) -> NonZeroU8 {
        self.shards.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            let half = u8::try_from(cores / 2).unwrap_or(u8::MAX);
            NonZeroU8::new(half.min(8)).unwrap_or(NonZeroU8::MIN)
        })
    }

    /// The key devices know the gateway by.
    pub fn public_key(&self) -> WgKey {
        WgKey(PublicKey::from(&StaticSecret::from(*self.private_key.expose())).to_bytes())
    }
}

/// In which network namespace the tunnel ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// One made for it.
    Private,
    /// The gateway's own: in a container with NET_ADMIN.
    Own,
}

/// The most data-plane threads; as many as `netio` steers to.
pub const MAX_SHARDS: u8 = 16;

const NAMESPACES: [(&str, Namespace); 2] = [("private", Namespace::Private), ("own", Namespace::Own)];

impl Namespace {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Own => "own",
        }
    }
}

pub(super) fn read(s: &mut Section<'_>) -> Option<Gateway> {
    let endpoint = s.text("endpoint");
    let listen = read_listen(s, r#"["0.0.0.0:51820", "[::]:51820"]"#);
    let key = s.path("private_key").and_then(|file| {
        let key =
            key_file::wireguard(&file).map_err(|error| s.mistake("private_key", error.to_string())).ok()?;
        Some((file, key))
    });
    let state = s.path("state");
    let name = s.optional_text("name").unwrap_or_else(|| "gateway".parse().expect("a plain name"));
    let admins = s.optional_text("admins");
    let namespace = s.optional_choice("namespace", &NAMESPACES).unwrap_or(Namespace::Private);
    let shards = s.optional_int("shards", 1..=MAX_SHARDS).and_then(NonZeroU8::new);
    let (private_key_file, private_key) = key?;
    Some(Gateway {
        endpoint: endpoint?,
        listen: listen?,
        private_key,
        private_key_file,
        name,
        state: state?,
        admins,
        namespace,
        shards,
    })
}

/// The `listen` of this section: at least one address, each once.
pub(super) fn read_listen(s: &mut Section<'_>, example: &str) -> Option<Vec<SocketAddr>> {
    let listen: Vec<Socket> = s.texts("listen")?;
    if s.is_empty_list("listen") {
        s.mistake("listen", format!("at least one address is needed, for example {example}"));
    }
    let listen: Vec<SocketAddr> = listen.into_iter().map(|socket| socket.0).collect();
    Unique::default().claim_all(s, "listen", listen.iter().copied());
    Some(listen)
}
