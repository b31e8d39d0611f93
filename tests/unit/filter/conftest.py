"""The packets that filters are compared on, and the two machines that run a filter over all of them."""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools
import random
import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes of a packet that both sides see, and how far apart the packets lie in memory.
SNAPLEN = 512
STRIDE = 1024 + 8
PACKETS = 2000

ETHER_A, ETHER_B = "02:00:00:00:00:01", "02:00:00:00:00:02"

HARNESS = """
typedef int function(const unsigned char *, unsigned, unsigned);
static function *const functions[] = { NAMES };

void run(unsigned which, const unsigned char *packets, unsigned stride, unsigned count,
         const unsigned *caplen, const unsigned *wirelen, unsigned char *out)
{
    for (unsigned i = 0; i < count; i++)
        out[i] = functions[which](packets + (unsigned long)i * stride, caplen[i], wirelen[i]);
}
"""

# struct bpf_program and struct pcap_pkthdr are written out, so that no development package is needed.
ORACLE = """
struct insn { unsigned short code; unsigned char jt, jf; unsigned k; };
struct program { unsigned len; struct insn *insns; };
struct header { long sec, usec; unsigned caplen, len; };
typedef int offline(const struct program *, const struct header *, const unsigned char *);

void run_offline(offline *filter, const struct program *program, const unsigned char *packets,
                 unsigned stride, unsigned count, const unsigned *caplen, const unsigned *wirelen,
                 unsigned char *out)
{
    for (unsigned i = 0; i < count; i++) {
        struct header h = { 0, 0, caplen[i], wirelen[i] };
        out[i] = filter(program, &h, packets + (unsigned long)i * stride) != 0;
    }
}
"""


@dataclass
class Corpus:
    """Packets in one block of memory, STRIDE bytes apart; unused bytes are noise, as in a reused buffer."""

    packets: np.ndarray
    caplen: np.ndarray
    wirelen: np.ndarray

    @classmethod
    def of(cls, packets: list[tuple[bytes, int]]) -> Corpus:
        noise = np.random.default_rng(7)
        block = noise.integers(0, 256, (len(packets), STRIDE), dtype=np.uint8)
        for row, (data, _) in zip(block, packets, strict=True):
            row[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        caplen = np.array([len(data) for data, _ in packets], dtype=np.uint32)
        return cls(block, caplen, np.array([wire for _, wire in packets], dtype=np.uint32))

    def __len__(self) -> int:
        return len(self.packets)

    def bytes(self, index: int) -> bytes:
        return self.packets[index, : self.caplen[index]].tobytes()


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class Native:
    """Filters in C, compiled by gcc into one shared object."""

    corpus = Corpus.of

    def __init__(self, folder: Path, sources: list[str], names: list[str], optimise: str = "-O1") -> None:
        source = folder / "filters.c"
        source.write_text("\n".join([*sources, HARNESS.replace("NAMES", ", ".join(names))]))
        library = folder / "filters.so"
        subprocess.run(
            [
                *("gcc", "-shared", "-fPIC", optimise, "-Wall", "-Wextra", "-Werror"),
                *("-Wno-type-limits", "-DKTD_FILTER_NATIVE", "-o", library, source),
            ],
            check=True,
        )
        self._library = ctypes.CDLL(str(library))

    def run(self, which: int, corpus: Corpus) -> np.ndarray:
        out = np.zeros(len(corpus), dtype=np.uint8)
        self._library.run(
            ctypes.c_uint(which),
            _pointer(corpus.packets),
            ctypes.c_uint(STRIDE),
            ctypes.c_uint(len(corpus)),
            _pointer(corpus.caplen),
            _pointer(corpus.wirelen),
            _pointer(out),
        )
        return out


class Oracle:
    """libpcap by itself: its compiler and its pcap_offline_filter(), none of our code between."""

    def __init__(self, folder: Path) -> None:
        source, library = folder / "oracle.c", folder / "oracle.so"
        source.write_text(ORACLE)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        self._run = ctypes.CDLL(str(library)).run_offline
        name = ctypes.util.find_library("pcap")
        assert name, "libpcap is needed"
        self._pcap = ctypes.CDLL(name)
        self._pcap.pcap_open_dead.restype = ctypes.c_void_p
        self._pcap.pcap_geterr.restype = ctypes.c_char_p

    def run(self, expression: str, link: int, corpus: Corpus) -> np.ndarray | None:
        """Return 1 or 0 per packet; None where libpcap does not compile the expression for this link."""
        handle = ctypes.c_void_p(self._pcap.pcap_open_dead(link, 65535))
        program = ctypes.create_string_buffer(16)
        try:
            if self._pcap.pcap_compile(handle, program, expression.encode(), 1, 0xFFFFFFFF) != 0:
                return None
        finally:
            self._pcap.pcap_close(handle)
        out = np.zeros(len(corpus), dtype=np.uint8)
        self._run(
            self._pcap.pcap_offline_filter,
            program,
            _pointer(corpus.packets),
            ctypes.c_uint(STRIDE),
            ctypes.c_uint(len(corpus)),
            _pointer(corpus.caplen),
            _pointer(corpus.wirelen),
            _pointer(out),
        )
        self._pcap.pcap_freecode(program)
        return out


def transports(random: random.Random) -> list[tuple[object, bool, bool]]:
    """Return transport headers with payload, and whether each makes sense over IPv4 and over IPv6."""
    from scapy.contrib.geneve import GENEVE
    from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6Unknown, IPv6
    from scapy.layers.l2 import Ether
    from scapy.layers.sctp import SCTP, SCTPChunkInit
    from scapy.layers.vxlan import VXLAN
    from scapy.packet import Raw

    http = Raw(b"GET / HTTP/1.1\r\n")
    inner = Ether(src=ETHER_B, dst=ETHER_A) / IP(src="192.168.1.77", dst="172.16.5.9") / TCP(dport=22)
    inner6 = Ether(src=ETHER_B, dst=ETHER_A) / IPv6(src="2001:db8::77", dst="2001:db8::78") / UDP(dport=53)
    both = [
        *(TCP(sport=1234, dport=80, flags=f) for f in ("S", "SA", "A", "PA", "R", "FA", "U")),
        TCP(sport=1234, dport=80, flags="PA", seq=5000) / http,
        TCP(sport=80, dport=1234, flags="PA", options=[("MSS", 1460), ("NOP", None), ("WScale", 7)]) / http,
        TCP(sport=40000, dport=443),
        TCP(sport=1234, dport=8080) / Raw(b"x" * 300),
        TCP(sport=0, dport=0),
        UDP(sport=53, dport=53) / Raw(b"dns?"),
        UDP(sport=1500, dport=53) / Raw(b"x" * 120),
        UDP(sport=53, dport=5005) / Raw(b"y" * 30),
        UDP(sport=1234, dport=4789) / VXLAN(vni=7, flags="Instance") / inner,
        UDP(sport=1234, dport=8472) / VXLAN(vni=7, flags="Instance") / inner6,
        UDP(sport=1234, dport=6081) / GENEVE(vni=42) / inner,
        UDP(sport=1234, dport=6081) / GENEVE(vni=42, optionlen=2) / Raw(b"\0\1\2\1abcd") / inner,
        SCTP(sport=5000, dport=5000) / SCTPChunkInit(),
        GRE() / IP(src="192.168.1.77", dst="172.16.5.9") / ICMP(),
    ]
    only4 = [
        ICMP(type=8) / Raw(b"p" * 56),
        ICMP(type=0) / Raw(b"p" * 56),
        ICMP(type=3, code=3) / IP(src="10.0.0.9", dst="10.0.0.1") / UDP(dport=53),
        ICMP(type=11),
        IP(src="192.168.1.77", dst="172.16.5.9") / ICMP(),
        IPv6(src="2001:db8::77", dst="2001:db8::78") / TCP(dport=22),
    ]
    only6 = [
        ICMPv6EchoRequest(data=b"p" * 56),
        ICMPv6ND_NS(tgt="fe80::2"),
        ICMPv6Unknown(type=1, code=4),
        IP(src="192.168.1.77", dst="172.16.5.9") / UDP(dport=53),
    ]
    return (
        [(t, True, True) for t in both]
        + [(t, True, False) for t in only4]
        + [(t, False, True) for t in only6]
    )


def network_packets(random: random.Random) -> list[bytes]:
    """Return IPv4 and IPv6 packets of every kind the expressions name."""
    from scapy.layers.inet import IP, IPOption_Router_Alert
    from scapy.layers.inet6 import (
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
    )
    from scapy.packet import Raw

    v4 = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "192.168.1.77", "172.16.5.9", "127.0.0.1", "10.5.0.1"]
    v6 = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::9", "fe80::2", "::1"]
    packets: list[object] = []
    for transport, over4, over6 in transports(random):
        for _ in range(2):
            source, target = random.sample(v4, 2)
            source6, target6 = random.sample(v6, 2)
            if over4:
                header = IP(
                    src=source,
                    dst=random.choice([target, "224.0.0.251", target]),
                    ttl=random.choice([1, 3, 64, 128]),
                    tos=random.choice([0, 3, 8]),
                    id=random.randrange(65536),
                    flags=random.choice(["", "DF"]),
                    options=random.choice([[], [], [IPOption_Router_Alert()]]),
                )
                packets.append(header / transport)
            if over6:
                header = IPv6(
                    src=source6,
                    dst=random.choice([target6, "ff02::1", target6]),
                    hlim=random.choice([1, 9, 64]),
                    fl=random.choice([0, 0xA1234]),
                )
                between = random.choice(
                    [
                        None,
                        None,
                        IPv6ExtHdrHopByHop(),
                        IPv6ExtHdrDestOpt(),
                        IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
                        IPv6ExtHdrRouting(addresses=["2001:db8::5"]),
                        IPv6ExtHdrFragment(offset=0, m=1),
                        IPv6ExtHdrFragment(offset=10, m=0),
                    ]
                )
                packets.append(header / between / transport if between else header / transport)
    for offset, more in ((0, 1), (10, 1), (100, 0)):
        fragment = IP(src="10.0.0.1", dst="10.0.0.2", flags=more, frag=offset, proto=17)
        packets.append(fragment / Raw(struct.pack(">4H", 53, 53, 100, 0) + b"z" * 40))
    packets.append(IP(src="10.0.0.1", dst="224.0.0.251", proto=2) / Raw(b"\x16\0\0\0\xe0\0\0\xfb"))
    for number in (9, 50, 51, 103, 112, 50, 0, 41, 132, 255):
        packets.append(IP(src="10.0.0.1", dst="10.0.0.2", proto=number) / Raw(bytes(range(24))))
        packets.append(IPv6(src="2001:db8::1", dst="2001:db8::2", nh=number) / Raw(bytes(range(24))))
    return [bytes(packet) for packet in packets]


def link_packets(random: random.Random, network: list[bytes]) -> list[bytes]:
    """Return Ethernet frames: the network's packets behind every kind of header, and other protocols."""

    def ether(kind: int, payload: bytes) -> bytes:
        targets = (ETHER_B, ETHER_B, ETHER_A, "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:00", "01:00:5e:00:00:fb")
        sources = (ETHER_A, ETHER_A, ETHER_B)
        addresses = random.choice(targets) + ":" + random.choice(sources)
        return bytes.fromhex(addresses.replace(":", "")) + struct.pack(">H", kind) + payload

    def tagged(payload_kind: int, payload: bytes, *tags: tuple[int, int]) -> bytes:
        body = payload
        kind = payload_kind
        for tag, number in reversed(tags):
            body = struct.pack(">HH", number, kind) + body
            kind = tag
        return ether(kind, body)

    frames: list[bytes] = []
    for packet in network:
        kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        frames.append(ether(kind, packet))
        choice = random.randrange(9)
        label = struct.pack(">I", 1000 << 12 | 255)
        bottom = struct.pack(">I", 1024 << 12 | 0x1FF)
        if choice == 0:
            frames.append(tagged(kind, packet, (0x8100, 5)))
        elif choice == 1:
            frames.append(tagged(kind, packet, (0x8100, 0x6000 | 100), (0x8100, 5)))
        elif choice == 2:
            frames.append(tagged(kind, packet, (0x88A8, 100), (0x8100, 5)))
        elif choice == 3:
            frames.append(ether(0x8847, bottom + packet))
        elif choice == 4:
            frames.append(ether(0x8847, label + bottom + packet))
        elif choice == 5:
            inner = 0x0021 if kind == 0x0800 else 0x0057
            frames.append(ether(0x8864, struct.pack(">BBHHH", 0x11, 0, 7, len(packet) + 2, inner) + packet))
        elif choice == 6:
            frames.append(tagged(0x8847, bottom + packet, (0x8100, 5)))
        elif choice == 7:
            snap = b"\xaa\xaa\x03\0\0\0" + struct.pack(">H", kind)
            frames.append(ether(min(len(packet) + 8, 1500), snap + packet))
    for operation in (1, 2, 3, 4):
        body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + bytes.fromhex("020000000001")
        body += bytes([10, 0, 0, 1]) + bytes.fromhex("020000000002") + bytes([10, 0, 0, 2])
        for kind in (0x0806, 0x8035):
            frames.append(ether(kind, body.ljust(46, b"\0")))
        frames.append(tagged(0x0806, body.ljust(46, b"\0"), (0x8100, 5)))
    for kind in (
        0x88CC,
        0x8863,
        0x809B,
        0x80F3,
        0x6003,
        0x6004,
        0x6001,
        0x6002,
        0x6007,
        0x9000,
        0x8137,
        0x9100,
    ):
        frames.append(ether(kind, bytes(range(46))))
    for llc in ("424203", "fefe03", "f0f003", "e0e003", "ffff", "0000af", "0000e3", "aaaa0300000700809b",
                "aaaa0300000080f3", "42420100", "42420000", "fefe0381", "fefe0382", "aaaa03080007809b",
                "aaaa030000000800"):  # fmt: skip
        frames.append(ether(46, bytes.fromhex(llc).ljust(46, b"\0")))
    for isis in (15, 16, 17, 18, 20, 24, 25, 26, 27):  # IS-IS PDU types (ISO 10589 section 9)
        frames.append(ether(60, bytes.fromhex("fefe0383") + bytes([27, 1, 0, isis, 1, 0, 0]) + bytes(40)))
    return frames


def mutate(random: random.Random, seeds: list[bytes], count: int) -> list[tuple[bytes, int]]:
    """Return ``count`` packets with their lengths on the wire: the seeds, then what chance makes of them."""
    result = [(seed[:SNAPLEN], len(seed)) for seed in seeds[:count]]
    for seed in itertools.islice(itertools.cycle(seeds), count - len(result)):
        packet = bytearray(seed)
        wirelen = len(packet)
        kind = random.random()
        if kind < 0.55:
            for _ in range(random.choice((1, 1, 2, 4))):
                place = min(int(random.expovariate(1 / 25)), len(packet) - 1)
                packet[place] = random.choice(
                    (random.randrange(256), packet[place] ^ 1 << random.randrange(8))
                )
        elif kind < 0.7:
            place = random.randrange(max(len(packet) - 3, 1))
            packet[place : place + 2] = random.choice(
                (b"\x08\0", b"\x81\0", b"\0\x50", b"\x86\xdd", b"\0\x35")
            )
        if random.random() < 0.35:
            del packet[random.randrange(len(packet) + 1) :]
        elif random.random() < 0.2:
            packet += random.randbytes(random.randrange(400))
            wirelen = len(packet)
        if random.random() < 0.1:
            wirelen += random.randrange(3000)
        result.append((bytes(packet[:SNAPLEN]), wirelen))
    return result


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    return Oracle(tmp_path_factory.mktemp("oracle"))


@pytest.fixture(scope="session")
def native() -> type[Native]:
    return Native


@pytest.fixture(scope="session")
def corpora() -> dict[str, Corpus]:
    """2,000 packets for each of model.Event's links."""
    chance = random.Random(20)
    network = network_packets(chance)
    frames = link_packets(chance, network)
    return {
        "ethernet": Corpus.of(mutate(chance, frames, PACKETS)),
        "raw": Corpus.of(mutate(chance, network, PACKETS)),
    }
