//! What `fuzz/` feeds with bytes, and what must hold for any of them. The bytes are a script of what
//! devices, strangers, the kernel and the shell do; `world` plays it over the model cipher and holds
//! every output against what `judge` and a ledger of verdicts permit.
//! Part of no product: it is built for the fuzzer and for the tests that replay its corpus.

mod bytes;
mod craft;
mod device;
mod judge;
mod script;
mod world;

use script::{Op, play};

/// Datagrams of devices and strangers, whole, in trains, spoiled and replayed; devices come and go.
pub fn datagram(bytes: &[u8]) {
    play(bytes, false, &Op::OUTSIDE);
}

/// Packets inside the sessions of two devices.
pub fn inner(bytes: &[u8]) {
    play(
        bytes,
        true,
        &[
            Op::Packet,
            Op::Syn,
            Op::Verdict,
            Op::Packet,
            Op::Segment,
            Op::Time,
            Op::Accept,
            Op::End,
            Op::Ask,
            Op::Verdict,
            Op::Say,
            Op::Ask,
            Op::End,
            Op::Time,
            Op::Say,
            Op::Unreachable,
        ],
    );
}

/// What the gateway's kernel sends, with and without flows it belongs to.
pub fn tun(bytes: &[u8]) {
    play(
        bytes,
        true,
        &[
            Op::Kernel,
            Op::Syn,
            Op::Verdict,
            Op::Kernel,
            Op::Accept,
            Op::Answer,
            Op::End,
            Op::Time,
            Op::Ask,
            Op::Verdict,
            Op::Say,
            Op::Kernel,
            Op::Ask,
            Op::Say,
            Op::Unreachable,
            Op::End,
        ],
    );
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_datagram_holds() {
        replay::corpus("datagram", datagram);
    }

    #[test]
    fn every_unit_of_inner_holds() {
        replay::corpus("inner", inner);
    }

    #[test]
    fn every_unit_of_tun_holds() {
        replay::corpus("tun", tun);
    }

    /// What a corpus, chosen for the code it reaches, need not have. The tables above number the steps.
    #[test]
    fn scripts_of_datagrams_hold() {
        for (family, kind) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let open: &[u8] = &[8, 0, family, 0, kind, 3, 0, 1, b'a', 2, 0, 3];
            let unheard: &[u8] = &[8, 0x80, family, 0, kind, 3, 0, 2, b'b'];
            let (cut, finish, minute): (&[u8], &[u8], &[u8]) = (&[7, 0, 1], &[7, 0, 0], &[5, 0, 7]);
            let say: &[u8] = &[10, 0, 3, 0, 1, b'c'];
            inner(&[open, say, unheard, cut, say, &[15, 0, 4]].concat());
            inner(&[open, unheard, finish, say].concat());
            inner(&[open, unheard, minute, say].concat());
            // From the other device's address.
            inner(&[0, 0, 0x42 + kind, family, 0, 0, family, 1, b'a', 0]);
        }
    }
}
