"""One device's flood of one kind into its tunnel interface wg0, RATE packets a second, until the program
is ended: far above every limit of a device, and below what fills the socket that all devices share."""

import itertools
import socket
import sys
import time

from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Raw

RATE = 3000
KIND, V4, DESK, PORT = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


def packet(number):
    ip = IP(src=V4, dst=DESK, id=number)
    port = 1024 + number
    if KIND == "syn":
        return ip / TCP(sport=port, dport=PORT, flags="S", seq=number)
    if KIND == "stray":
        return ip / TCP(sport=port, dport=PORT, flags="A", seq=number) / Raw(b"x" * 1000)
    if KIND == "udp":
        return ip / UDP(sport=port, dport=PORT) / Raw(b"x" * 1000)
    if KIND == "fragments":
        return IP(src=V4, dst=DESK, id=number, flags="MF", proto=17) / Raw(b"x" * 8)
    raise SystemExit(f"no such flood: {KIND}")


packets = [bytes(packet(number)) for number in range(4000)]
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("wg0", 0x0800))
print("flooding", flush=True)
start = time.monotonic()
for number, raw in enumerate(itertools.cycle(packets)):
    time.sleep(max(0.0, start + number / RATE - time.monotonic()))
    try:
        out.send(raw)
    except OSError as error:
        if error.errno != 105:
            raise
