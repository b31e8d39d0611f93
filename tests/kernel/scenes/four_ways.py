"""One UDP flow through a router, four packets of it: delivered, dropped by nftables, TTL 1, bad checksum.

four_ways.py setup    namespaces a and b with this one as the router between them, and the rule
four_ways.py send     the four packets, in this order, with IP ids 1 to 4

The packets are whole frames (packet(7)): nothing fills in what is wrong with them.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time

CLIENT, SERVER = "10.9.1.2", "10.9.2.2"
PORTS = 5000, 7000

SETUP = """
ip netns add a; ip netns add b
ip link add va type veth peer name eth0 netns a address 02:00:00:00:00:0a
ip link add vb type veth peer name eth0 netns b
ip addr add 10.9.1.1/24 dev va; ip addr add 10.9.2.1/24 dev vb
ip link set va address 02:00:00:00:00:01
ip link set va up; ip link set vb up
ip -n a addr add 10.9.1.2/24 dev eth0; ip -n a link set eth0 up
ip -n b addr add 10.9.2.2/24 dev eth0; ip -n b link set eth0 up
ip -n b route add default via 10.9.2.1
sysctl -qw net.ipv4.ip_forward=1
nft add table ip ways
nft add chain ip ways forward '{ type filter hook forward priority 0; }'
nft add rule ip ways forward ip daddr 10.9.2.2 ip id 2 drop
ip netns exec b ping -c 1 -W 5 10.9.2.1 >/dev/null
"""


def checksum(header: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(number: int, ttl: int = 64, damage: int = 0) -> bytes:
    """Return an Ethernet frame with one UDP datagram (RFC 768, without a checksum of its own)."""
    payload = b"four ways"
    udp = struct.pack(">HHHH", *PORTS, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(CLIENT) + socket.inet_aton(SERVER)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), number, 0, ttl, 17, 0) + addresses
    header = header[:10] + struct.pack(">H", checksum(header) ^ damage) + header[12:]
    return bytes.fromhex("02000000000102000000000a0800") + header + udp


def send() -> None:
    """Send the four packets from namespace a; a socket in b takes what arrives."""
    listen = (
        f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', {PORTS[1]}));"
        "print(flush=True); s.recv(99)"
    )
    receiver = subprocess.Popen(
        ["ip", "netns", "exec", "b", sys.executable, "-c", listen], stdout=subprocess.PIPE
    )
    assert receiver.stdout
    receiver.stdout.readline()
    inside = ["ip", "netns", "exec", "a", sys.executable, __file__, "frames"]
    subprocess.run(inside, check=True)
    receiver.wait(20)


def frames() -> None:
    """Put the frames on the wire."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        for one in (frame(1), frame(2), frame(3, ttl=1), frame(4, damage=0x0101)):
            wire.send(one)
            time.sleep(0.2)


if __name__ == "__main__":
    if sys.argv[1] == "setup":
        subprocess.run(["bash", "-e", "-c", SETUP], check=True)
    elif sys.argv[1] == "send":
        send()
    else:
        frames()
