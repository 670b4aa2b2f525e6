//! The Internet checksum (RFC 1071) and its pseudo-headers (RFC 9293 §3.1, RFC 8200 §8.1).
//! A correct message sums to zero with its checksum in place.

use super::Ends;

/// Of bytes alone: IPv4 headers and ICMPv4.
pub(super) fn plain(bytes: &[u8]) -> u16 {
    finish(sum(bytes))
}

/// Of a transport message with its pseudo-header: TCP, UDP and ICMPv6.
pub(super) fn transport(ends: Ends, protocol: u8, message: &[u8]) -> u16 {
    let addresses = match ends {
        Ends::V4 { src, dst } => sum(&src.octets()) + sum(&dst.octets()),
        Ends::V6 { src, dst } => sum(&src.octets()) + sum(&dst.octets()),
    };
    finish(addresses + u64::from(protocol) + message.len() as u64 + sum(message))
}

/// Puts the checksum of `message` into its own bytes `at` and `at + 1`, which are zero before.
pub(super) fn fill(message: &mut [u8], at: usize, checksum: u16) {
    if let Some(field) = message.get_mut(at..at + 2) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let whole: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    whole + rest.first().map_or(0, |&last| u64::from(last) << 8)
}

fn finish(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(plain(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(plain(&[0xff]), !0xff00);
    }
}
