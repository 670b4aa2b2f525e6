//! `[devices]`: what every device's WireGuard configuration says beside the tunnel itself.

use std::net::IpAddr;

use ipnet::IpNet;
use protocol::{
    config::{Mistake, Section},
    target::Host,
};

use super::{
    gateway::Gateway,
    text::{Cidr, overlap},
    tunnel::Tunnel,
    unique::Unique,
};

/// `[devices]`; empty if the section is absent.
#[derive(Debug, Default)]
pub struct Devices {
    /// What devices send into the tunnel beside the tunnel prefix.
    pub routes: Vec<IpNet>,
    /// Written into the devices' configurations.
    pub mtu: Option<u16>,
}

impl Devices {
    /// Whether devices send all of `net` into the tunnel.
    pub fn cover(&self, net: &IpNet) -> bool {
        IpNet::aggregate(&self.routes).iter().any(|route| route.contains(net))
    }
}

pub(super) fn read(
    s: &mut Section<'_>,
    gateway: Option<&Gateway>,
    tunnel: Option<&Tunnel>,
    warnings: &mut Vec<Mistake>,
) -> Devices {
    let endpoint = gateway.and_then(|gateway| match gateway.endpoint.host {
        Host::Ip(ip) => Some(ip),
        Host::Name(_) => None,
    });
    s.optional_section("devices", |s| Some(walk(s, endpoint, tunnel, warnings))).unwrap_or_default()
}

fn walk(
    s: &mut Section<'_>,
    endpoint: Option<IpAddr>,
    tunnel: Option<&Tunnel>,
    warnings: &mut Vec<Mistake>,
) -> Devices {
    let routes: Vec<IpNet> = s.texts_or_empty::<Cidr>("routes").into_iter().map(|cidr| cidr.0).collect();
    Unique::default().claim_all(s, "routes", routes.iter());
    for (i, route) in routes.iter().enumerate() {
        let key = format!("routes[{i}]");
        if tunnel.is_some_and(|tunnel| tunnel.nets().iter().any(|own| overlap(own, route))) {
            s.mistake(&key, format!("{route} overlaps the tunnel, which is routed anyway"));
        }
        if let Some(endpoint) = endpoint.filter(|ip| route.contains(ip)) {
            warnings.push(s.at(&key, format!(
                "{route} contains the gateway's endpoint {endpoint}: devices may send the tunnel's own packets into the tunnel"
            )));
        }
    }
    // 1280: what IPv6 asks of every link (RFC 8200 §5).
    let mtu = s.optional_int("mtu", 1280..=9000_u16);
    Devices { routes, mtu }
}
