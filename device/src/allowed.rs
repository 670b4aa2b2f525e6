//! WireGuard's cryptokey routing for one peer: what comes out of the tunnel must claim to come from
//! AllowedIPs, what goes in must go there.
//! It reads addresses only. Always true: what is no whole IP header passes neither way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The peer's AllowedIPs.
#[derive(Debug)]
pub struct Allowed(Vec<IpNet>);

impl Allowed {
    /// Permits these networks alone.
    pub fn new(nets: &[IpNet]) -> Self {
        Self(nets.to_vec())
    }

    /// Whether a packet out of the tunnel has a source it may have.
    pub fn source(&self, packet: &[u8]) -> bool {
        addresses(packet).is_some_and(|(source, _)| self.contains(source))
    }

    /// Whether a packet may go into the tunnel.
    pub fn target(&self, packet: &[u8]) -> bool {
        addresses(packet).is_some_and(|(_, target)| self.contains(target))
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }
}

fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let at = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(Ipv4Addr::from);
            Some((at(12)?.into(), at(16)?.into()))
        }
        6 => {
            let at = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(Ipv6Addr::from);
            Some((at(8)?.into(), at(24)?.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(source: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        [&[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0][..], &source, &target].concat()
    }

    #[test]
    fn addresses_outside_allowed_ips_pass_neither_way() {
        let allowed = Allowed::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()]);
        let (ours, theirs, foreign) = ([100, 64, 0, 2], [10, 1, 2, 3], [192, 0, 2, 1]);
        assert!(allowed.target(&v4(ours, theirs)) && allowed.source(&v4(theirs, ours)));
        assert!(!allowed.target(&v4(ours, foreign)) && !allowed.source(&v4(foreign, ours)));
        let mut v6 = vec![0x60; 40];
        v6[24..26].copy_from_slice(&[0xfd, 0]);
        assert!(allowed.target(&v6) && !allowed.source(&v6));
    }

    #[test]
    fn what_is_no_ip_packet_passes_neither_way() {
        let allowed = Allowed::new(&["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        for packet in [&[][..], &[0x45; 19], &[0x60; 39], &[0xf0; 60]] {
            assert!(!allowed.source(packet) && !allowed.target(packet));
        }
    }
}
