"""Hostile datagrams at the gateway's WireGuard port, made by scapy and sent with whatever source they
name. MODE: garbage (all shapes), initiations (right first MAC, nothing behind it), data (of sessions
nobody has, from one source), replay (one datagram as it was), RATE a second, until it is ended."""

import base64
import hashlib
import itertools
import os
import socket
import struct
import sys
import time

from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

MODE, GATEWAY, PORT = sys.argv[1], "10.77.0.1", 51820
# Initiations come at twice the rate from which on the gateway asks for cookies; a replay is no flood.
RATE = {"garbage": 5000, "initiations": 4000, "data": 5000, "replay": 20}[MODE]


def message(kind, length):
    return struct.pack("<I", kind) + os.urandom(length - 4)


def initiation(public):
    """A first message whose mac1 is right, as anybody can make it who knows the gateway's public key."""
    body = message(1, 116)
    key = hashlib.blake2s(b"mac1----" + public).digest()
    return body + hashlib.blake2s(body, key=key, digest_size=16).digest() + bytes(16)


def spoofed(number):
    """Half from this network, where nobody has them, half from one the gateway has no route to."""
    return f"10.77.{1 + number % 200}.{number % 250}" if number % 2 else f"192.0.2.{number % 250}"


def sources_and_payloads():
    if MODE == "garbage":
        for length in [0, 1, 3, 4, 11, 31, 32, 63, 64, 91, 92, 147, 148, 149, 1400]:
            for kind in range(6):
                yield spoofed(length), message(kind, max(length, 4))[:length]
    elif MODE == "initiations":
        public = base64.b64decode(sys.argv[2])
        for number in range(3000):
            yield spoofed(number), initiation(public)
    elif MODE == "data":
        for number in range(2000):
            yield sys.argv[2], message(4, 32 + number % 1000)
    elif MODE == "replay":
        yield sys.argv[2], bytes.fromhex(sys.argv[4])


port = int(sys.argv[3]) if MODE in ("data", "replay") else 40_000
packets = [
    bytes(IP(src=source, dst=GATEWAY) / UDP(sport=port, dport=PORT) / Raw(payload))
    for source, payload in sources_and_payloads()
]
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
largest = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("sending", flush=True)
start = time.monotonic()
for number, packet in enumerate(itertools.cycle(packets)):
    time.sleep(max(0.0, start + number / RATE - time.monotonic()))
    try:
        out.sendto(packet, (GATEWAY, 0))
        if MODE == "garbage" and number % 50 == 0:
            # As long as a datagram can be: in fragments, from our own address.
            largest.sendto(message(number // 50 % 6, 65_507), (GATEWAY, PORT))
    except OSError as error:
        if error.errno != 105:
            raise
