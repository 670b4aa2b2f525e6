//! What a person pastes or scans into the WireGuard app of a device.
//! It knows no device's private key. Always true: what is printed is what `wg-quick` reads, once the
//! private key stands where the placeholder is.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::Config;

/// Stands where the device's owner puts the private key.
pub const PLACEHOLDER: &str = "<paste the device's private key here>";

/// The configuration of the device with these tunnel addresses.
pub fn text(config: &Config, v4: Ipv4Addr, v6: Ipv6Addr) -> String {
    let Config { gateway, tunnel, dns, devices, .. } = config;
    let allowed: Vec<String> = tunnel.nets().iter().chain(&devices.routes).map(ToString::to_string).collect();
    let search = dns.zones.first().map_or(String::new(), |zone| format!(", {zone}"));
    let mtu = devices.mtu.map_or(String::new(), |mtu| format!("MTU = {mtu}\n"));
    format!(
        "\
[Interface]
PrivateKey = {PLACEHOLDER}
Address = {v4}/32, {v6}/128
DNS = {}, {}{search}
{mtu}
[Peer]
PublicKey = {}
AllowedIPs = {}
Endpoint = {}
PersistentKeepalive = 25
",
        tunnel.gateway_v4(),
        tunnel.gateway_v6(),
        gateway.public_key(),
        allowed.join(", "),
        gateway.endpoint,
    )
}
