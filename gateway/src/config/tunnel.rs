//! `[tunnel]`: the tunnel prefix and its fixed parts.
//! The v4 block is halved: devices below, apps above; index `n` of a part is the same in both
//! families. The gateway is index 1 of the lower half; allocation begins at 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use protocol::config::Section;

/// RFC 6598: addresses no company uses inside, so that they collide with nothing.
const SHARED: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// RFC 4193 §3.1, with the bit that says "assigned locally".
const LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 8);

/// `[tunnel]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    v4: Ipv4Net,
    v6: Ipv6Net,
}

/// Who an address of the tunnel belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The lower half, `<48>:1::/64`.
    Devices,
    /// The upper half, `<48>:2::/64`.
    Apps,
}

impl Part {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Apps => "apps",
        }
    }
}

impl Tunnel {
    /// The first index that is allocated; 0 is the network, 1 the gateway.
    pub const FIRST: u32 = 2;

    /// Of blocks that are already known to be good.
    #[cfg(any(test, fuzzing))]
    pub(super) fn new(v4: Ipv4Net, v6: Ipv6Net) -> Self {
        Self { v4, v6 }
    }

    /// The v4 block.
    pub fn v4(&self) -> Ipv4Net {
        self.v4
    }

    /// The v6 block.
    pub fn v6(&self) -> Ipv6Net {
        self.v6
    }

    /// Both blocks.
    pub fn nets(&self) -> [IpNet; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Whether an address is of the tunnel.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.nets().iter().any(|net| net.contains(&ip))
    }

    /// The gateway's own v4 address.
    pub fn gateway_v4(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.v4.network()) + 1)
    }

    /// The gateway's own v6 address.
    pub fn gateway_v6(&self) -> Ipv6Addr {
        self.v6_at(0, 1)
    }

    /// The last index of a part; the very last address is left out, since some systems take it for
    /// a broadcast.
    pub fn last(&self) -> u32 {
        self.half() - 2
    }

    /// The addresses of index `n`, which is within [`FIRST`](Self::FIRST) and [`last`](Self::last).
    pub fn addresses(&self, part: Part, n: u32) -> (Ipv4Addr, Ipv6Addr) {
        let (base, subnet) = match part {
            Part::Devices => (0, 1),
            Part::Apps => (self.half(), 2),
        };
        (Ipv4Addr::from(u32::from(self.v4.network()) + base + n), self.v6_at(subnet, n))
    }

    /// The index of a v4 address in a part, if it is one that can be allocated.
    pub fn index(&self, part: Part, v4: Ipv4Addr) -> Option<u32> {
        let base = match part {
            Part::Devices => 0,
            Part::Apps => self.half(),
        };
        let n = u32::from(v4).checked_sub(u32::from(self.v4.network()))?.checked_sub(base)?;
        (Self::FIRST..=self.last()).contains(&n).then_some(n)
    }

    /// The v4 network of a part, for messages and routes.
    pub fn part_v4(&self, part: Part) -> Ipv4Net {
        let base = match part {
            Part::Devices => 0,
            Part::Apps => self.half(),
        };
        Ipv4Net::new_assert(Ipv4Addr::from(u32::from(self.v4.network()) + base), self.v4.prefix_len() + 1)
    }

    fn half(&self) -> u32 {
        1 << (31 - self.v4.prefix_len())
    }

    fn v6_at(&self, subnet: u16, n: u32) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.v6.network()) | u128::from(subnet) << 64 | u128::from(n))
    }
}

/// Takes an explicit v4 address at `key`: it must be one of `part`.
pub(super) fn explicit(
    s: &mut Section<'_>,
    key: &str,
    tunnel: Option<&Tunnel>,
    part: Part,
) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = s.optional_text(key)?;
    let tunnel = tunnel?;
    if tunnel.index(part, address).is_none() {
        let (first, last) =
            (tunnel.addresses(part, Tunnel::FIRST).0, tunnel.addresses(part, tunnel.last()).0);
        s.mistake(
            key,
            format!("{address} is none of the tunnel's addresses for {}: {first} to {last}", part.as_str()),
        );
    }
    Some(address)
}

pub(super) fn read(s: &mut Section<'_>) -> Option<Tunnel> {
    let v4: Option<Ipv4Net> = s.text("v4");
    let v6: Option<Ipv6Net> = s.text("v6");
    if let Some(v4) = v4
        && (!SHARED.contains(&v4) || !(12..=24).contains(&v4.prefix_len()) || v4.trunc() != v4)
    {
        s.mistake(
            "v4",
            format!(
                "{v4} will not do: a network inside 100.64.0.0/10, from /12 to /24, for example 100.64.0.0/16"
            ),
        );
    }
    if let Some(v6) = v6
        && (!LOCAL.contains(&v6) || v6.prefix_len() != 48 || v6.trunc() != v6)
    {
        s.mistake(
            "v6",
            format!("{v6} will not do: a /48 inside fd00::/8 (RFC 4193), for example fd00:d00:d00::/48"),
        );
    }
    Some(Tunnel { v4: v4.filter(|v4| (1..=30).contains(&v4.prefix_len()))?.trunc(), v6: v6?.trunc() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(v4: &str) -> Tunnel {
        Tunnel::new(v4.parse().unwrap(), "fd00:d00:d00::/48".parse().unwrap())
    }

    #[test]
    fn parts_lie_where_the_design_says() {
        let t = tunnel("100.64.0.0/16");
        assert_eq!(t.gateway_v4().to_string(), "100.64.0.1");
        assert_eq!(t.gateway_v6().to_string(), "fd00:d00:d00::1");
        let told = |part, n| {
            let (v4, v6) = t.addresses(part, n);
            format!("{v4} {v6}")
        };
        assert_eq!(told(Part::Devices, 2), "100.64.0.2 fd00:d00:d00:1::2");
        assert_eq!(told(Part::Apps, 7), "100.64.128.7 fd00:d00:d00:2::7");
        assert_eq!(told(Part::Apps, t.last()), "100.64.255.254 fd00:d00:d00:2::7ffe");
        assert_eq!(t.part_v4(Part::Apps).to_string(), "100.64.128.0/17");
    }

    #[test]
    fn an_index_and_its_address_are_one() {
        for v4 in ["100.64.0.0/12", "100.100.0.0/16", "100.127.255.0/24"] {
            let t = tunnel(v4);
            for part in [Part::Devices, Part::Apps] {
                for n in [Tunnel::FIRST, 50, t.last()] {
                    assert_eq!(t.index(part, t.addresses(part, n).0), Some(n), "{v4} {part:?} {n}");
                }
                assert_eq!(t.index(part, t.gateway_v4()), None);
                assert_eq!(t.index(part, Ipv4Addr::new(10, 0, 0, 2)), None);
            }
            assert_eq!(t.index(Part::Devices, t.addresses(Part::Apps, 2).0), None);
            assert_eq!(t.index(Part::Apps, t.v4().broadcast()), None);
        }
    }
}
