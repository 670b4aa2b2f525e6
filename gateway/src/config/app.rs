//! Every `[[app]]`: an HTTP or TCP service, its names, and where it is dialled.

mod read;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use http::HeaderName;
use policy::facts::App;
use protocol::{
    id::{AppId, SiteId},
    target::{Host, Target, canonical},
};

pub(super) use self::read::{Around, read, read_sensitivity};

/// One `[[app]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSpec {
    /// What policies see.
    pub facts: Arc<App>,
    /// Its names, under our zones: lower case, no trailing dot. Never empty for HTTP.
    pub hosts: Vec<String>,
    /// Ports of its tunnel address; never empty.
    pub ports: Vec<u16>,
    /// What it speaks.
    pub kind: AppKind,
    /// Its tunnel address, if the operator chose one.
    pub address: Option<Ipv4Addr>,
}

/// What an app speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppKind {
    /// Each request is decided by itself.
    Http(HttpSpec),
    /// Each connection is decided.
    Tcp(TcpSpec),
    /// A provider's own name: TLS to it goes through as it is, before anybody has signed in. Where it is dialled.
    Through(Target),
}

/// An HTTP app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSpec {
    /// Where it is dialled, in plain HTTP.
    pub upstream: Target,
    /// Whether devices reach it over TLS; port 80 then only says where it is.
    pub tls: bool,
    /// Which paths are let through.
    pub path: PathMode,
    /// Methods that count as reading beside GET, HEAD and OPTIONS.
    pub read_methods: Vec<String>,
    /// Origins that may call it across sites; as browsers write them.
    pub allow_origins: Vec<String>,
    /// Under which names it wants to be told who is there.
    pub identity: IdentityHeaders,
}

/// A TCP app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSpec {
    /// Where it is dialled, on the port the device dialled.
    pub target: Host,
    /// A subnet that contains the target reaches it too, without asking as this app.
    pub also_by_subnet: bool,
}

/// How a path is judged beyond what is always refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMode {
    /// Every reading of an ambiguous path must be allowed.
    Standard,
    /// An ambiguous path is refused.
    Strict,
    /// The app reads paths as they are written.
    Verbatim,
}

/// Header names for user, e-mail and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The user id.
    pub user: HeaderName,
    /// The e-mail, if verified.
    pub email: HeaderName,
    /// The groups, separated by commas.
    pub groups: HeaderName,
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        Self {
            user: HeaderName::from_static("x-forwarded-user"),
            email: HeaderName::from_static("x-forwarded-email"),
            groups: HeaderName::from_static("x-forwarded-groups"),
        }
    }
}

/// An address and port of the real network at which an app stands, so that a broad subnet cannot
/// bypass the app. At one site at most one TCP app has it; HTTP apps may share one (a reverse proxy
/// that tells them apart by name), and then the address alone does not say which is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactTarget<'a> {
    /// The address, in IPv4 form if it is one.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// Whose.
    pub app: &'a AppId,
    /// Where it stands.
    pub site: &'a SiteId,
}

impl AppSpec {
    /// Whether devices speak TLS to our front of it.
    pub fn is_over_tls(&self) -> bool {
        matches!(&self.kind, AppKind::Http(http) if http.tls)
    }

    /// None for a name, and for an app that subnets may reach too.
    pub(super) fn exact_targets(&self) -> Option<impl Iterator<Item = ExactTarget<'_>>> {
        let (host, ports) = match &self.kind {
            AppKind::Http(http) => (&http.upstream.host, std::slice::from_ref(&http.upstream.port)),
            AppKind::Through(_) => return None,
            AppKind::Tcp(tcp) if tcp.also_by_subnet => return None,
            AppKind::Tcp(tcp) => (&tcp.target, self.ports.as_slice()),
        };
        let Host::Ip(ip) = host else { return None };
        let (ip, app, site) = (canonical(*ip), &self.facts.id, &self.facts.site);
        Some(ports.iter().map(move |port| ExactTarget { ip, port: *port, app, site }))
    }
}
