"""Packets that a shell cannot make. python3 frames.py KIND ...

spoofed SOURCE DESTINATION PORT: UDP from an address that is not the sender's
raw DEVICE SOURCE DESTINATION MAC: bad UDP checksum (port 7004), bad IP checksum (7009), another MAC (7012)
ttl SOURCE DESTINATION PORT: UDP with TTL 1
big SOURCE DESTINATION PORT: UDP with 3,000 bytes
stream SOURCE DESTINATION PORT: 40 kB of TCP
"""

import socket
import struct
import sys
from pathlib import Path

kind, *arguments = sys.argv[1:]


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source: str, destination: str, port: int, *, bad_ip: bool = False, bad_udp: bool = False) -> bytes:
    payload = b"frame"
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    udp = struct.pack(">HHHH", 5000, port, 8 + len(payload), 0) + payload
    value = checksum(addresses + struct.pack(">BBH", 0, 17, len(udp)) + udp)
    udp = struct.pack(">HHHH", 5000, port, 8 + len(payload), value ^ 0x5555 if bad_udp else value) + payload
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + addresses
    value = checksum(header)
    header = header[:10] + struct.pack(">H", value ^ 0x5555 if bad_ip else value) + header[12:]
    return header + udp


if kind in ("spoofed", "ttl", "big"):
    source, destination, port = arguments
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((source, 0))
    if kind == "ttl":
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
    udp.sendto(b"x" * (3000 if kind == "big" else 5), (destination, int(port)))
elif kind == "raw":
    device, source, destination, mac = arguments
    right = bytes.fromhex(mac.replace(":", ""))
    other = bytes([right[0], *right[1:5], right[5] ^ 0x5A])
    own = bytes.fromhex(Path(f"/sys/class/net/{device}/address").read_text().strip().replace(":", ""))
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind((device, 0))
    for target, data in (
        (right, packet(source, destination, 7004, bad_udp=True)),
        (right, packet(source, destination, 7009, bad_ip=True)),
        (other, packet(source, destination, 7012)),
    ):
        link.send(target + own + b"\x08\x00" + data)
elif kind == "stream":
    source, destination, port = arguments
    tcp = socket.create_connection((destination, int(port)), source_address=(source, 0))
    tcp.sendall(b"y" * 40_000)
    tcp.close()
