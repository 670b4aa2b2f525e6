//! Super-segments: what is joined and cut again is what was there, and flows never mix.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::{
    Checksum, MAX_PARTS, Offload,
    kernel::{Kernel, Open, ToKernel},
    packet::{
        Ends, Ip, TCP, checksum,
        split::Split,
        split_tests::Parts,
        tcp::{ACK, FIN, PSH, RST, SYN, Tcp},
    },
    testing::whole,
};

/// A queue and the flows that use it.
struct Flows {
    kernel: Kernel,
    open: HashMap<u16, Open>,
}

impl Flows {
    fn new(offload: bool) -> Self {
        let mut kernel = Kernel::new(1 << 20);
        kernel.offload = offload;
        Self { kernel, open: HashMap::new() }
    }

    fn push(&mut self, packet: &[u8]) {
        self.kernel.room(packet.len()).unwrap().copy_from_slice(packet);
        let ip = Ip::parse(packet).unwrap();
        let tcp = Tcp::verified(&ip).unwrap();
        let open = self.open.entry(tcp.src).or_default();
        self.kernel.push_segment((ip.ends, &tcp), packet.len(), open);
    }

    /// What the kernel gets, each cut again as it would be on a line.
    fn drain(&mut self) -> Vec<Vec<Vec<u8>>> {
        let all = self.kernel.iter().map(cut).collect();
        self.kernel.clear();
        all
    }
}

fn cut(packet: ToKernel<'_>) -> Vec<Vec<u8>> {
    let mut bytes = whole(packet);
    let Some(segment) = packet.segment else { return vec![bytes] };
    assert!(packet.parts().count() <= MAX_PARTS && bytes.len() <= 65_535);
    let copy = bytes.clone();
    let ip = Ip::parse(&copy).unwrap();
    let tcp = Tcp::parse(ip.payload).unwrap();
    assert_eq!(
        (packet.ip_head, packet.head),
        (ip.ends.header_len(), ip.ends.header_len() + usize::from(tcp.head))
    );
    assert_eq!(
        copy[packet.ip_head + 16..][..2],
        checksum::pseudo(ip.ends, TCP, ip.payload.len()).to_be_bytes()
    );
    let offload = Offload { checksum: Checksum::Partial, segment: Some(segment) };
    let mut split = Split::tcp(&mut bytes, (ip.ends, &tcp), offload, 65_535).unwrap();
    std::iter::from_fn(|| split.next().map(<[u8]>::to_vec)).collect()
}

fn ends(v6: bool) -> Ends {
    if v6 {
        Ends::V6 { src: [1; 16].into(), dst: [2; 16].into() }
    } else {
        Ends::V4 { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into() }
    }
}

fn data(v6: bool, port: u16, seq: u32, len: usize) -> Parts {
    let payload = (0..len).map(|n| (n * 7 + usize::from(port)) as u8).collect();
    let (ports, options) = ((port, 22), vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    Parts { ends: ends(v6), ports, id: 0, seq, ack: 5, flags: ACK, window: 100, options, payload }
}

/// What a sender does next, if not what goes on.
#[derive(Debug, Clone, Copy)]
enum Oddity {
    None,
    Flags(u8),
    Ack,
    Window,
    Option,
    Hole,
    Length(usize),
}

fn oddity() -> impl Strategy<Value = Oddity> {
    prop_oneof![
        8 => Just(Oddity::None),
        2 => prop::sample::select(vec![ACK | PSH, FIN | ACK, RST, RST | ACK, SYN, ACK | 32, ACK | 64, ACK | 128])
            .prop_map(Oddity::Flags),
        1 => Just(Oddity::Ack),
        1 => Just(Oddity::Window),
        1 => Just(Oddity::Option),
        1 => Just(Oddity::Hole),
        2 => prop::sample::select(vec![0, 1, 99, 101, 1400]).prop_map(Oddity::Length),
    ]
}

proptest! {
    #[test]
    fn joined_and_cut_again_each_flow_is_what_it_was(
        steps in prop::collection::vec((1u16..4, oddity()), 1..150), v6: bool, offload: bool,
    ) {
        let mut flows = Flows::new(offload);
        let mut next: HashMap<u16, Parts> = (1..4).map(|port| (port, data(v6, port, 0u32.wrapping_sub(500), 100))).collect();
        let mut sent: HashMap<u16, Vec<Vec<u8>>> = HashMap::new();
        for (port, oddity) in steps {
            let parts = next.get_mut(&port).unwrap();
            let mut this = parts.clone();
            match oddity {
                Oddity::None => {}
                Oddity::Flags(flags) => this.flags = flags,
                Oddity::Ack => { parts.ack += 1; this.ack += 1; }
                Oddity::Window => { parts.window += 1; this.window += 1; }
                Oddity::Option => { parts.options[7] += 1; this.options[7] += 1; }
                Oddity::Hole => { this.seq = this.seq.wrapping_add(1); parts.seq = this.seq; }
                Oddity::Length(len) => this.payload = data(v6, port, 0, len).payload,
            }
            parts.seq = parts.seq.wrapping_add(this.payload.len() as u32);
            let mut packet = this.build();
            flows.push(&packet);
            // Identifications count up when cut; nobody reads them where nothing is fragmented.
            if !v6 { packet[4..6].fill(0); packet[10..12].fill(0); }
            sent.entry(port).or_default().push(packet);
        }
        let mut got: HashMap<u16, Vec<Vec<u8>>> = HashMap::new();
        for mut packet in flows.drain().into_iter().flatten() {
            let ip = Ip::parse(&packet).unwrap();
            let port = Tcp::verified(&ip).unwrap().src;
            if !v6 { packet[4..6].fill(0); packet[10..12].fill(0); }
            got.entry(port).or_default().push(packet);
        }
        prop_assert_eq!(got, sent);
    }
}

/// How many packets the kernel gets for these.
fn packets(all: &[Parts]) -> usize {
    let mut flows = Flows::new(true);
    all.iter().for_each(|parts| flows.push(&parts.build()));
    flows.drain().len()
}

#[test]
fn a_stream_is_one_super_segment_and_nothing_else_is() {
    for v6 in [false, true] {
        let stream: Vec<_> = (0..20).map(|n| data(v6, 1, n * 100, 100)).collect();
        assert_eq!(packets(&stream), 1);
        let changed = |at: usize, change: fn(&mut Parts)| {
            let mut stream = stream.clone();
            change(&mut stream[at]);
            packets(&stream)
        };
        assert_eq!(changed(19, |parts| parts.flags |= PSH), 1, "PSH ends it");
        assert_eq!(changed(9, |parts| parts.flags |= PSH), 2);
        assert_eq!(changed(19, |parts| parts.payload.truncate(40)), 1, "a short one ends it");
        assert_eq!(changed(9, |parts| parts.payload.truncate(40)), 2);
        assert_eq!(changed(9, |parts| parts.flags |= FIN), 3);
        assert_eq!(changed(9, |parts| parts.ports.1 = 23), 3, "another flow's handle, but not its segment");
        assert_eq!(changed(9, |parts| parts.ends = parts.ends.reversed()), 3);
        assert_eq!(changed(9, |parts| parts.ack = 6), 3);
        assert_eq!(changed(9, |parts| parts.window = 7), 3);
        assert_eq!(changed(9, |parts| parts.options[3] = 7), 3);
        assert_eq!(changed(9, |parts| parts.seq += 1), 3);
    }
    let long: Vec<_> = (0..64).map(|n| data(false, 1, n * 1368, 1368)).collect();
    assert_eq!(packets(&long), 2, "64 KiB and no more");
    let tiny: Vec<_> = (0..MAX_PARTS as u32 + 1).map(|n| data(true, 1, n, 1)).collect();
    assert_eq!(packets(&tiny), 2);
}

#[test]
fn what_was_cleared_is_not_open() {
    let mut flows = Flows::new(true);
    flows.push(&data(false, 1, 0, 100).build());
    flows.drain();
    // Another flow's packet is where the old one was.
    flows.push(&data(false, 2, 0, 100).build());
    flows.push(&data(false, 1, 100, 100).build());
    assert_eq!(flows.drain().len(), 2);
}

#[test]
fn the_bound_is_kept() {
    let mut kernel = Kernel::new(100);
    assert!(kernel.push_copy(&[0x45; 60]) && !kernel.push_copy(&[0x45; 60]) && kernel.push_copy(&[0x60; 40]));
    assert_eq!(kernel.iter().map(whole).collect::<Vec<_>>(), [vec![0x45; 60], vec![0x60; 40]]);
    kernel.clear();
    assert!(kernel.push_copy(&[0x45; 100]));
}
