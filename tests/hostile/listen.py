"""Tells the first WireGuard initiation that arrives at eth0: its UDP payload in hexadecimal."""

from scapy.all import sniff
from scapy.layers.inet import UDP


def is_initiation(packet):
    return UDP in packet and packet[UDP].dport == 51820 and bytes(packet[UDP].payload)[:4] == b"\1\0\0\0"


def tell(packet):
    return "initiation " + bytes(packet[UDP].payload).hex()


sniff(iface="eth0", lfilter=is_initiation, prn=tell, count=1, store=False,
      started_callback=lambda: print("listening", flush=True))
