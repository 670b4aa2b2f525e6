"""Packets no honest device sends, made by scapy and put into the tunnel interface wg0, whose client
encrypts whatever it is given. The first line told is what the gateway should count, and how often at
least; then they go round and round until the program is ended."""

import itertools
import json
import socket
import sys

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_RR, IPOption_SSRR, IPOption_Timestamp
from scapy.layers.inet6 import (
    ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw

V4, V6, DESK, DESK_V6, PORT = sys.argv[1:6]
PORT = int(PORT)
SYN = TCP(sport=4000, dport=PORT, flags="S", seq=1)


def v4(payload=SYN, **fields):
    return IP(**{"src": V4, "dst": DESK, **fields}) / payload


def v6(payload=SYN, **fields):
    return IPv6(**{"src": V6, "dst": DESK_V6, **fields}) / payload


def rebuilt(packet):
    """With lengths and checksums as bytes, so that one field alone can be made wrong."""
    return packet.__class__(bytes(packet))


def tampered(packet, layer, **fields):
    packet = rebuilt(packet)
    for name, value in fields.items():
        setattr(packet[layer], name, value)
    return packet


LOOPBACK_V4, LINK_LOCAL_V4 = ["127.0.0.1", "127.255.255.254"], ["169.254.169.254", "169.254.0.1"]
MULTICAST_V4 = ["224.0.0.1", "224.0.0.251", "239.255.255.250"]
RESERVED_V4 = ["0.0.0.0", "0.1.2.3", "240.0.0.1", "255.255.255.255"]
LOOPBACK_V6, LINK_LOCAL_V6 = ["::1"], ["fe80::1", "febf::1"]
MULTICAST_V6 = ["ff02::1", "ff02::fb", "ff0e::1"]
RESERVED_V6 = ["::", "::ffff:10.50.0.9", "::10.50.0.9", "::ffff:127.0.0.1"]
NEIGHBOURS_V4 = ["100.64.0.1", "100.64.0.11", "100.64.0.200", "100.64.128.9", "10.50.0.7", "192.0.2.1"]
NEIGHBOURS_V6 = ["fd00:d00:d00::1", "fd00:d00:d00:1::b", "fd50::7", "2001:db8::1", "::ffff:100.64.0.10"]

EXPECTED = {
    "wrong_source": [v4(src=a) for a in LOOPBACK_V4 + LINK_LOCAL_V4 + MULTICAST_V4 + RESERVED_V4 + NEIGHBOURS_V4]
    + [v6(src=a) for a in LOOPBACK_V6 + LINK_LOCAL_V6 + MULTICAST_V6 + RESERVED_V6 + NEIGHBOURS_V6],
    "to_loopback": [v4(dst=a) for a in LOOPBACK_V4] + [v6(dst=a) for a in LOOPBACK_V6],
    "to_link_local": [v4(dst=a) for a in LINK_LOCAL_V4] + [v6(dst=a) for a in LINK_LOCAL_V6],
    "to_multicast": [v4(dst=a) for a in MULTICAST_V4] + [v6(dst=a) for a in MULTICAST_V6],
    "to_reserved": [v4(dst=a) for a in RESERVED_V4] + [v6(dst=a) for a in RESERVED_V6],
    "to_gateway": [v4(UDP(sport=4000, dport=port), dst="100.64.0.1") for port in (123, 51820)],
    "to_device": [v4(UDP(sport=4000, dport=53), dst="100.64.0.11"), v4(ICMP(), dst="100.64.0.11")],
    "tcp_flags": [
        make(TCP(sport=4000, dport=PORT, flags=flags))
        for make, flags in itertools.product((v4, v6), ("", "FPU", "SF", "SR", "FR", "SFR", "F", "P", "U", "FSRPAUEC"))
    ],
    "tcp_malformed": [
        make(TCP(sport=4000, dport=PORT, flags="S", dataofs=words)) for make in (v4, v6) for words in (1, 4, 6, 15)
    ]
    + [make(TCP(sport=sport, dport=dport, flags="S")) for make in (v4, v6) for sport, dport in ((0, PORT), (4000, 0))]
    + [v4(Raw(bytes(SYN)[:length]), proto=6) for length in (0, 1, 10, 19)],
    "udp_malformed": [tampered(v4(UDP(sport=4000, dport=53), dst="100.64.0.1"), UDP, **wrong) for wrong in
        ({"len": 7}, {"len": 9}, {"chksum": 0xDEAD}, {"sport": 0}, {"dport": 0})] + [v4(Raw(b"1234567"), proto=17)],
    "icmp_malformed": [tampered(v4(ICMP()), ICMP, chksum=0xDEAD), v4(Raw(b"123"), proto=1), v4(Raw(b"x" * 8), proto=58)],
    "icmp_error": [v4(ICMP(type=3, code=4)), v4(ICMP(type=5)), v6(ICMPv6DestUnreach())],
    "fragment": [
        v4(flags="MF"), v4(Raw(b"x" * 8), proto=6, flags="MF"), v4(Raw(b"x" * 8), proto=6, frag=1, flags="MF"),
        v4(Raw(b"x" * 16), proto=6, frag=1), v4(Raw(b"x"), proto=6, frag=8191), v4(UDP(dport=53), flags="MF"),
        v6(IPv6ExtHdrFragment(nh=6, m=1, id=7) / SYN), v6(IPv6ExtHdrFragment(nh=6, offset=1, id=7) / Raw(b"x" * 8)),
        v6(IPv6ExtHdrFragment(nh=6, id=8) / SYN),
    ],
    "source_route": [
        v4(options=IPOption_LSRR(routers=["10.50.0.9"])), v4(options=IPOption_SSRR(routers=["10.50.0.9"])),
        v6(IPv6ExtHdrRouting(addresses=["fd50::9"]) / SYN), v6(IPv6ExtHdrRouting(type=4, addresses=["fd50::9"]) / SYN),
    ],
    "ipv4_options": [v4(options=IPOption_RR(routers=["0.0.0.0"])), v4(options=IPOption_Timestamp(flg=0))],
    "hop_by_hop": [v6(IPv6ExtHdrHopByHop() / SYN), v6(IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / ICMPv6EchoRequest())],
    "ipv6_extension": [v6(IPv6ExtHdrDestOpt() / SYN)] + [v6(Raw(b"x" * 16), nh=nh) for nh in (50, 51, 59, 135, 139, 140)],
    "ipv4_malformed": [tampered(v4(), IP, chksum=0xDEAD), tampered(v4(), IP, ihl=4), tampered(v4(), IP, ihl=15)],
    "protocol_unsupported": [v4(Raw(b"x" * 40), proto=proto) for proto in (0, 2, 4, 41, 47, 50, 89, 132, 255)],
    "too_big": [v4(TCP(sport=4000, dport=PORT, flags="A") / Raw(b"x" * size)) for size in (1381, 4000, 8900)],
}

packets = [bytes(packet) for group in EXPECTED.values() for packet in group]
print(json.dumps({name: len(group) for name, group in EXPECTED.items()}), flush=True)

sockets = {}
for version, protocol in ((4, 0x0800), (6, 0x86DD)):
    sockets[version] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sockets[version].bind(("wg0", protocol))
for packet in itertools.cycle(packets):
    try:
        sockets[packet[0] >> 4].send(packet)
    except OSError as error:
        # A full queue is tried again with the next; anything else is a mistake of this test.
        if error.errno != 105:
            raise
