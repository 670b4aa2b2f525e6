//! The Internet checksum (RFC 1071) and its pseudo-headers (RFC 9293 §3.1, RFC 8200 §8.1).
//! A correct message sums to zero with its checksum in place. Sums are taken over words of the machine's
//! own order, which only swaps the bytes of the result (RFC 1071 §2B), four bytes at a time.

use super::Ends;

/// Of bytes alone: IPv4 headers and ICMPv4.
pub(crate) fn plain(bytes: &[u8]) -> u16 {
    !finish(sum(bytes))
}

/// Of a transport message with its pseudo-header: TCP, UDP and ICMPv6.
pub(crate) fn transport(ends: Ends, protocol: u8, message: &[u8]) -> u16 {
    !finish(pseudo_sum(ends, protocol, message.len()) + sum(message))
}

/// Of the pseudo-header alone and not inverted: what the field holds while the rest is left to others.
pub(crate) fn pseudo(ends: Ends, protocol: u8, len: usize) -> u16 {
    finish(pseudo_sum(ends, protocol, len))
}

/// Puts `checksum` into the bytes `at` and `at + 1`; the field must be zero while it is computed.
pub(crate) fn fill(message: &mut [u8], at: usize, checksum: u16) {
    if let Some(field) = message.get_mut(at..at + 2) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

fn pseudo_sum(ends: Ends, protocol: u8, len: usize) -> u64 {
    let addresses = match ends {
        Ends::V4 { src, dst } => sum(&src.octets()) + sum(&dst.octets()),
        Ends::V6 { src, dst } => sum(&src.octets()) + sum(&dst.octets()),
    };
    addresses + u64::from(u16::from(protocol).to_be()) + sum(&(len as u64).to_be_bytes())
}

/// No packet is long enough to overflow this.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let whole: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    whole + u64::from(u32::from_ne_bytes(last))
}

fn finish(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::from_be(u16::try_from(sum).expect("folded to 16 bits"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(plain(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(plain(&[0xff]), !0xff00);
        assert_eq!(plain(&[0xff; 65_535]), naive(&[0xff; 65_535]));
    }

    proptest! {
        #[test]
        fn sums_as_the_rfc_does(bytes in prop::collection::vec(any::<u8>(), 0..1500), v6: bool) {
            prop_assert_eq!(plain(&bytes), naive(&bytes));
            let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            let (ends, addresses) = if v6 {
                (Ends::V6 { src: [3; 16].into(), dst: [9; 16].into() }, [[3u8; 16], [9; 16]].concat())
            } else {
                (Ends::V4 { src: [3; 4].into(), dst: [9; 4].into() }, [[3u8; 4], [9; 4]].concat())
            };
            let header = [&addresses[..], &len, &[0, 0, 0, 6]].concat();
            prop_assert_eq!(transport(ends, 6, &bytes), naive(&[&header[..], &bytes].concat()));
            prop_assert_eq!(pseudo(ends, 6, bytes.len()), !naive(&header));
        }
    }
}
