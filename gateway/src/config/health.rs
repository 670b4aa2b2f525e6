//! `[health]`: where probes and scrapers may ask how the gateway is. Absent: nowhere.

use std::net::{IpAddr, SocketAddr};

use protocol::config::{Mistake, Section};

use super::gateway::read_listen;

/// `[health]`.
#[derive(Debug, Default)]
pub struct Health {
    /// Where HTTP is served; empty if the section is absent.
    pub listen: Vec<SocketAddr>,
}

pub(super) fn read(s: &mut Section<'_>, warnings: &mut Vec<Mistake>) -> Health {
    s.optional_section("health", |s| {
        let listen = read_listen(s, r#"["127.0.0.1:9820"]"#)?;
        for (i, address) in listen.iter().enumerate().filter(|(_, address)| !is_private(address.ip())) {
            let reason = format!(
                "{address} is not a private address: whoever reaches it may read the metrics, without sign-in"
            );
            warnings.push(s.at(&format!("listen[{i}]"), reason));
        }
        Some(Health { listen })
    })
    .unwrap_or_default()
}

/// Loopback, link-local or of a private network; never "every address".
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
