//! What is known of addresses by themselves: which are special, and which hide another.
//! Always true: every way of writing an IPv4 address inside an IPv6 one that is known is unwrapped.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::Ipv6Net;

/// Addresses that reach the dialling machine itself, its link or its cloud, rather than a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// 0.0.0.0/8 and `::`, which Linux takes for itself (RFC 1122 §3.2.1.3).
    Unspecified,
    /// 127.0.0.0/8 and `::1`.
    Loopback,
    /// 169.254.0.0/16 and fe80::/10.
    LinkLocal,
    /// 224.0.0.0/4 and ff00::/8.
    Multicast,
    /// 240.0.0.0/4 with the broadcast address (RFC 1112 §4).
    Reserved,
    /// A cloud's metadata service, which hands out the machine's credentials.
    Metadata,
    /// An address of the dialling machine.
    Own,
}

/// Metadata services outside the link-local ranges: AWS, Alibaba, Azure, Oracle, Google.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

impl Special {
    pub(super) fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Option<Self> {
        if METADATA_V4.contains(&ip) {
            return Some(Self::Metadata);
        }
        match ip.octets() {
            [0, ..] => Some(Self::Unspecified),
            [127, ..] => Some(Self::Loopback),
            [169, 254, ..] => Some(Self::LinkLocal),
            [224..=239, ..] => Some(Self::Multicast),
            [240..=255, ..] => Some(Self::Reserved),
            _ => None,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Option<Self> {
        if METADATA_V6.contains(&ip) {
            Some(Self::Metadata)
        } else if ip.is_unspecified() {
            Some(Self::Unspecified)
        } else if ip.is_loopback() {
            Some(Self::Loopback)
        } else if ip.is_unicast_link_local() {
            Some(Self::LinkLocal)
        } else if ip.is_multicast() {
            Some(Self::Multicast)
        } else {
            None
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved or broadcast address",
            Self::Metadata => "a cloud metadata address",
            Self::Own => "an address of this machine",
        })
    }
}

/// The address that `ip` reaches in the end: the IPv4 address inside an IPv4-mapped, -compatible or
/// -translated, NAT64, 6to4 or Teredo address, else `ip` itself.
pub fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let inner = v6.to_ipv4_mapped().or_else(|| nat64(ip)).or_else(|| carried(v6));
    inner.map_or(ip, IpAddr::V4)
}

/// What the kernel dials for `ip`: a socket treats an IPv4-mapped address as IPv4.
pub(super) fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
    }
}

const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const NAT64_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);
const TEREDO: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);
const SIX_TO_FOUR: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
/// RFC 4291 §2.5.5.1; `::` and `::1` are not of it.
const COMPATIBLE: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96);
/// RFC 2765 §2.1.
const TRANSLATED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96);

/// The IPv4 host that a NAT64 address stands for (RFC 6052 §2.2). Inside the local-use prefix
/// (RFC 8215) the translator's prefix length is told by the suffix, which is zero.
pub(super) fn nat64(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let o = ip.octets();
    if NAT64.contains(&ip) {
        return Some(Ipv4Addr::new(o[12], o[13], o[14], o[15]));
    }
    if !NAT64_LOCAL.contains(&ip) {
        return None;
    }
    Some(match o {
        [.., 0, 0, 0, 0, 0] => Ipv4Addr::new(o[6], o[7], o[9], o[10]),
        [.., 0, 0, 0, 0] => Ipv4Addr::new(o[7], o[9], o[10], o[11]),
        [.., 0, 0, 0] => Ipv4Addr::new(o[9], o[10], o[11], o[12]),
        _ => Ipv4Addr::new(o[12], o[13], o[14], o[15]),
    })
}

/// The IPv4 address of the tunnel that carries to an old transition address. It may be dialled only
/// under its own name, since the IPv4 address is the carrier's and not the destination's.
fn carried(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let o = ip.octets();
    if SIX_TO_FOUR.contains(&ip) {
        Some(Ipv4Addr::new(o[2], o[3], o[4], o[5]))
    } else if TEREDO.contains(&ip) {
        // RFC 4380 §4: the client's address is stored inverted.
        Some(Ipv4Addr::new(!o[12], !o[13], !o[14], !o[15]))
    } else if TRANSLATED.contains(&ip)
        || COMPATIBLE.contains(&ip) && !ip.is_loopback() && !ip.is_unspecified()
    {
        Some(Ipv4Addr::new(o[12], o[13], o[14], o[15]))
    } else {
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every spelling of an IPv4 address that a name could resolve to.
    pub fn spellings(v4: Ipv4Addr) -> Vec<IpAddr> {
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let v6 = |s: [u16; 8]| IpAddr::V6(s.into());
        vec![
            v4.into(),
            v6([0, 0, 0, 0, 0, 0xffff, high, low]),
            v6([0, 0, 0, 0, 0xffff, 0, high, low]),
            v6([0x64, 0xff9b, 0, 0, 0, 0, high, low]),
            v6([0x64, 0xff9b, 1, 0, 0, 0, high, low]),
            v6([0x64, 0xff9b, 1, high, u16::from(c), u16::from_be_bytes([d, 0]), 0, 0]),
            v6([0x2002, high, low, 0, 0, 0, 0, 1]),
            v6([0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !high, !low]),
        ]
    }

    proptest! {
        #[test]
        fn every_spelling_unwraps(v4: u32) {
            let v4 = Ipv4Addr::from(v4);
            // The local-use prefix tells its length by zeroes: an address that ends in some is another's.
            let [.., c, d] = v4.octets();
            prop_assume!(c != 0 && d != 0);
            for spelling in spellings(v4) {
                prop_assert_eq!(canonical(spelling), IpAddr::V4(v4), "{}", spelling);
            }
        }
    }
}
