//! What `fuzz/` feeds with bytes, and what must hold for any of them: what a TUN gives us.
//! Part of no product: it is built for the fuzzer and for the tests that replay its corpus.

use crate::vnet::{Checksum, decode};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A virtio header and the packet behind it.
///
/// What is let through agrees with itself, read here by nothing but linux/virtio_net.h and the RFCs: the
/// checksum that is left to us is the transport header's and inside the packet, and what is to be cut is
/// TCP of the family the header says.
pub fn vnet(bytes: &[u8]) {
    let Ok(offload) = decode(bytes) else { return };
    let (header, packet) = bytes.split_at(10);
    let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let (family, protocol, transport) = match packet[0] >> 4 {
        4 => (4, packet.get(9), 4 * usize::from(packet[0] & 0xf)),
        6 => (6, packet.get(6), 40),
        other => panic!("IP version {other}"),
    };
    let partial = offload.checksum == Checksum::Partial;
    assert_eq!(partial, header[0] & 1 == 1, "whose the checksum is");
    if partial {
        let within = match *protocol.expect("an IP header") {
            TCP => 16,
            UDP => 6,
            other => panic!("no checksum of protocol {other} is ours to make"),
        };
        let field = usize::from(number(6)) + usize::from(number(8));
        assert_eq!((usize::from(number(6)), field), (transport, transport + within), "not its place");
        assert!(transport >= 20 && field + 2 <= packet.len(), "outside of the packet");
    }
    let Some(segment) = offload.segment else { return assert_eq!(header[1], 0, "to be cut") };
    assert!(partial && protocol == Some(&TCP), "what is no TCP is to be cut");
    assert_eq!((header[1], segment.get()), (if family == 4 { 1 } else { 4 }, number(4)));
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_vnet_holds() {
        replay::corpus("vnet", vnet);
    }
}
