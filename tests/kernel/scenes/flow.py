"""One flow, packet by packet: python3 flow.py DEVICE SOURCE DESTINATION MAC

UDP from SOURCE:5000 to DESTINATION:7011, each with what it is as payload: two that are delivered, one of
class selector 1 (which a rule drops), one with TTL 1, one with a wrong IP checksum.
"""

import socket
import struct
import sys
from pathlib import Path

device, source, destination, mac = sys.argv[1:]

PORT = 7011


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send(payload: bytes, tos: int = 0, ttl: int = 64, wrong: int = 0) -> None:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    udp = struct.pack(">HHHH", 5000, PORT, 8 + len(payload), 0) + payload
    pseudo = addresses + struct.pack(">BBH", 0, 17, len(udp))
    udp = udp[:6] + struct.pack(">H", checksum(pseudo + udp)) + udp[8:]
    header = struct.pack(">BBHHHBBH", 0x45, tos, 20 + len(udp), 1, 0, ttl, 17, 0) + addresses
    header = header[:10] + struct.pack(">H", checksum(header) ^ wrong) + header[12:]
    own = Path(f"/sys/class/net/{device}/address").read_text()
    link.send(bytes.fromhex((mac + own).replace(":", "")) + b"\x08\x00" + header + udp)


link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((device, 0))
send(b"first")
send(b"second")
send(b"rule", tos=0x20)
send(b"ttl", ttl=1)
send(b"checksum", wrong=0x5555)
