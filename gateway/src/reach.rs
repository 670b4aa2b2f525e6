//! Which resource an address belongs to (design: app address, else exact target of an app, else
//! longest-prefix subnet, else nothing). It decides nothing about access.
//! Always true: a broad subnet never bypasses an app, unless the app says `also_by_subnet`.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use protocol::{
    id::{AppId, SubnetId},
    target::{Host, Target},
};

use crate::config::{AppKind, AppSpec, ExactTarget, HttpSpec};

/// What stands at an address and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// An HTTP app: our own front answers, and decides every request by itself.
    Front {
        /// Which.
        app: AppId,
        /// What it speaks there.
        speaks: Speaks,
    },
    /// A TCP app.
    App {
        /// Which.
        app: AppId,
        /// What would be dialled.
        target: Target,
    },
    /// Anything in a subnet that no app claims.
    Subnet {
        /// Which.
        subnet: SubnetId,
        /// What would be dialled.
        target: Target,
    },
    /// A provider's own name, which TLS goes through to as it is.
    Through {
        /// Which.
        app: AppId,
        /// What would be dialled.
        target: Target,
    },
    /// The gateway's own portal.
    Door {
        /// Whether TLS is spoken there.
        secure: bool,
    },
    /// The gateway's own name server.
    Dns,
    /// An app that does not declare this port.
    NoSuchPort {
        /// Which.
        app: AppId,
    },
    /// Nothing we know.
    Nothing,
}

/// What our own front speaks at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Plain HTTP, with the app behind it.
    Http,
    /// HTTP over TLS, with the app behind it.
    Https,
    /// Plain HTTP that only says where the app is.
    ToHttps,
}

impl Speaks {
    /// As it stands in a URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http | Self::ToHttps => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL may leave out.
    pub fn port(self) -> u16 {
        match self {
            Self::Http | Self::ToHttps => 80,
            Self::Https => 443,
        }
    }
}

/// DNS, over TCP as over UDP (RFC 7766).
const DNS_PORT: u16 = 53;

/// The portal, and what says where it is.
const DOOR_PORT: u16 = 443;
const PLAIN_DOOR_PORT: u16 = 80;

/// The table behind [`Reach::resolve`]; made once for a snapshot.
#[derive(Debug, Default)]
pub struct Reach {
    gateway: Vec<IpAddr>,
    vips: HashMap<IpAddr, AppId>,
    exact: HashMap<(IpAddr, u16), AppId>,
    /// Longest prefix first.
    subnets: Vec<(IpNet, SubnetId)>,
}

impl Reach {
    /// Collects `apps` with their tunnel addresses, the real addresses of apps, and `subnets`.
    pub fn new<'a>(
        gateway: Vec<IpAddr>,
        apps: impl Iterator<Item = (&'a AppId, [IpAddr; 2])>,
        exact: impl Iterator<Item = ExactTarget<'a>>,
        subnets: impl Iterator<Item = (IpNet, SubnetId)>,
    ) -> Self {
        let mut reach = Self { gateway, subnets: subnets.collect(), ..Self::default() };
        reach.subnets.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        for (app, addresses) in apps {
            reach.vips.extend(addresses.map(|address| (address, app.clone())));
        }
        for exact in exact {
            // Several HTTP apps may share one; whichever front answers, it tells them apart by name.
            reach.exact.entry((exact.ip, exact.port)).or_insert_with(|| exact.app.clone());
        }
        reach
    }

    /// What stands at `to`; `app` looks up an app by id.
    pub fn resolve<'a>(&self, to: SocketAddr, app: impl Fn(&AppId) -> Option<&'a AppSpec>) -> Destination {
        if self.gateway.contains(&to.ip()) {
            return at_gateway(to.port());
        }
        if let Some(spec) = self.vips.get(&to.ip()).and_then(&app) {
            return at_vip(spec, to.port());
        }
        if let Some(spec) = self.exact.get(&(to.ip(), to.port())).and_then(&app) {
            return at_target(spec, to);
        }
        match self.subnets.iter().find(|(net, _)| net.contains(&to.ip())) {
            Some((_, subnet)) => Destination::Subnet { subnet: subnet.clone(), target: literal(to) },
            None => Destination::Nothing,
        }
    }

    /// Every address that answers a ping: the gateway's and the apps'.
    pub fn echo(&self) -> impl Iterator<Item = IpAddr> {
        self.gateway.iter().chain(self.vips.keys()).copied()
    }
}

fn at_gateway(port: u16) -> Destination {
    match port {
        DNS_PORT => Destination::Dns,
        DOOR_PORT => Destination::Door { secure: true },
        PLAIN_DOOR_PORT => Destination::Door { secure: false },
        _ => Destination::Nothing,
    }
}

fn at_vip(spec: &AppSpec, port: u16) -> Destination {
    let app = spec.facts.id.clone();
    match (&spec.kind, spec.ports.contains(&port)) {
        (AppKind::Http(http), declared) => match spoken(http, declared, port) {
            Some(speaks) => Destination::Front { app, speaks },
            None => Destination::NoSuchPort { app },
        },
        (AppKind::Tcp(tcp), true) => {
            Destination::App { app, target: Target { host: tcp.target.clone(), port } }
        }
        (AppKind::Through(target), true) => Destination::Through { app, target: target.clone() },
        (AppKind::Tcp(_) | AppKind::Through(_), false) => Destination::NoSuchPort { app },
    }
}

fn spoken(http: &HttpSpec, declared: bool, port: u16) -> Option<Speaks> {
    match (http.tls, declared) {
        (true, true) => Some(Speaks::Https),
        (false, true) => Some(Speaks::Http),
        (true, false) if port == Speaks::ToHttps.port() => Some(Speaks::ToHttps),
        (true | false, false) => None,
    }
}

/// The app's own target, dialled by its real address: an HTTP app keeps its front there too, or a
/// raw connection would carry identity headers of the client's making. What stands there speaks plain
/// HTTP, and so does the front; one over TLS only says where it is.
fn at_target(spec: &AppSpec, to: SocketAddr) -> Destination {
    let app = spec.facts.id.clone();
    match &spec.kind {
        AppKind::Http(http) => {
            let speaks = if http.tls { Speaks::ToHttps } else { Speaks::Http };
            Destination::Front { app, speaks }
        }
        AppKind::Tcp(_) => Destination::App { app, target: literal(to) },
        // It has no address of its own.
        AppKind::Through(_) => Destination::Nothing,
    }
}

fn literal(to: SocketAddr) -> Target {
    Target { host: Host::Ip(to.ip()), port: to.port() }
}

#[cfg(test)]
mod tests;
