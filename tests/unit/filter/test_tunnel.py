"""--filter-tunnel against libpcap's verdict on the inner packet alone."""

from __future__ import annotations

import itertools
import random
import subprocess

import numpy as np
import pytest
from scapy.contrib.geneve import GENEVE
from scapy.layers.inet import GRE, IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from ktcpdump_tui.capture.filter import compile_filter, filter_c

SNAPLEN = 512
EXPRESSIONS = [
    "",
    "icmp",
    "tcp port 80",
    "tcp[tcpflags] & tcp-syn != 0",
    "host 10.0.0.1",
    "ip6 and udp",
    "ip6 host 2001:db8::1 or net 10.0.0.0/24",
    "vlan 5 and ip",
    "arp or not ip",
    "ether src 02:00:00:00:00:01",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "less 100",
    "len > 200 or ip[ip[8] & 31] = 10",
    " or ".join(f"host 10.{i}.0.1" for i in range(30)),
]

#: With addresses: scapy asks the network for those that are missing.
ETHER = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
LINKS = [ETHER, ETHER / Dot1Q(vlan=7), ETHER / Dot1AD(vlan=8) / Dot1Q(vlan=7), None]
NETWORKS = [
    IP(src="198.51.100.1", dst="198.51.100.2"),
    IP(src="198.51.100.1", dst="198.51.100.2", options=[IPOption_Router_Alert()]),
    IPv6(src="2001:db8:ff::1", dst="2001:db8:ff::2"),
    IPv6() / IPv6ExtHdrDestOpt(),
    IPv6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=["2001:db8::5"]) / IPv6ExtHdrDestOpt(),
    IPv6() / IPv6ExtHdrFragment(m=1, id=4),
]
ETHERNET_TUNNELS = [
    UDP(sport=50000, dport=4789) / VXLAN(vni=42, flags="Instance"),
    UDP(sport=50000, dport=8472) / VXLAN(vni=42, flags="Instance"),
    UDP(sport=50000, dport=6081) / GENEVE(vni=42, proto=0x6558),
    UDP(sport=50000, dport=6081) / GENEVE(vni=42, proto=0x6558, optionlen=3) / Raw(bytes(range(12))),
    GRE(proto=0x6558),
    GRE(proto=0x6558, key_present=1, key=7),
    GRE(proto=0x6558, key_present=1, chksum_present=1, seqnum_present=1, key=7, sequence_number=1),
]
# GRE and Geneve name the inner protocol; IP in IP does so by its protocol number.
IP_TUNNELS = {
    4: [GRE(proto=0x0800), UDP(dport=6081) / GENEVE(proto=0x0800), 4],
    6: [
        GRE(proto=0x86DD, key_present=1, key=7),
        UDP(dport=6081) / GENEVE(proto=0x86DD, optionlen=1) / Raw(b"abcd"),
        41,
    ],
}


def wrap(link: Ether | None, network: IP | IPv6, tunnel: object, inner: bytes) -> bytes:
    """Return the outer packet's bytes, ending with ``inner``."""
    header = network.copy()
    if isinstance(tunnel, int):
        last = header.lastlayer()
        setattr(last, "proto" if isinstance(last, IP) else "nh", tunnel)
        packet = header / Raw(inner)
    else:
        packet = header / tunnel / Raw(inner)
    return bytes(packet if link is None else link / packet)


def inner_frames(chance: random.Random) -> list[bytes]:
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    tcp = TCP(sport=1234, dport=80, flags="S") / Raw(b"GET / HTTP/1.1")
    return [
        bytes(ether / IP(src="10.0.0.1", dst="10.0.0.2", ttl=chance.randrange(1, 255)) / tcp),
        bytes(ether / IP(src="10.7.0.1", dst="10.0.0.2", proto=1) / Raw(b"\x08" + bytes(100))),
        bytes(ether / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(dport=53) / Raw(b"d" * 120)),
        bytes(ether / Dot1Q(vlan=5) / IP(src="10.0.0.9", dst="10.0.0.1") / tcp),
        bytes.fromhex("ffffffffffff020000000001080600010800060400010200000000010a0000010000000000000a000002"),
    ]


@pytest.fixture(scope="module")
def cases() -> list[tuple[bytes, int, int, bytes, int]]:
    """Outer bytes and link; the inner packet's link, bytes as far as captured, and length on the wire."""
    chance = random.Random(3)
    plain = []
    for link, network in itertools.product(LINKS, NETWORKS):
        for tunnel in ETHERNET_TUNNELS:
            plain += [
                (wrap(link, network, tunnel, f), link, 1, f) for f in chance.sample(inner_frames(chance), 3)
            ]
        for frame in inner_frames(chance)[:3]:
            packet = frame[14:]
            for tunnel in IP_TUNNELS[packet[0] >> 4]:
                plain.append((wrap(link, network, tunnel, packet), link, 12, packet))
    result = []
    for outer, link, inner_link, inner in plain:
        start = len(outer) - len(inner)
        for length in {len(outer), chance.randrange(len(outer)), start + chance.randrange(60)}:
            caplen = min(length, len(outer))
            result.append(
                (outer[:caplen], 1 if link else 12, inner_link, inner[: max(caplen - start, 0)], len(inner))
            )
            if caplen < start:  # not even the tunnel's headers are there
                result[-1] = (*result[-1][:2], 0, b"", 0)
    return result


def test_verdict_is_libpcaps_on_the_inner_packet(native, oracle, cases, tmp_path):
    sources, names = [], []
    for number, expression in enumerate(EXPRESSIONS):
        source = filter_c(compile_filter("", SNAPLEN), compile_filter(expression, SNAPLEN), f"f{number}")
        for link, flag in (("ether", 1), ("raw", 0)):
            sources.append(source if flag else "")
            sources.append(
                f"static int f{number}_{link}(const ktd_u8 *p, ktd_u32 c, ktd_u32 w)"
                f" {{ return f{number}(p, c, w, {flag}); }}"
            )
            names.append(f"f{number}_{link}")
    machine = native(tmp_path, sources, names)
    groups = {}
    for case in cases:
        groups.setdefault(case[1:3], []).append(case)
    assert len(cases) > 1500
    assert set(groups) == set(itertools.product((1, 12), (0, 1, 12)))
    selected = dict.fromkeys(EXPRESSIONS, 0)
    for (link, inner_link), members in groups.items():
        outers = native.corpus([(c[0], len(c[0]) + c[4] - len(c[3])) for c in members])
        inners = native.corpus([(c[3], c[4]) for c in members])
        for number, expression in enumerate(EXPRESSIONS):
            ours = machine.run(2 * number + (link != 1), outers)
            expected = oracle.run(expression, inner_link, inners) if inner_link else None
            if expected is None:
                expected = np.zeros_like(ours)
            differ = np.flatnonzero(ours != expected)
            assert not differ.size, (expression, link, inner_link, members[differ[0]][0].hex())
            selected[expression] += int(ours.sum())
    assert all(0 < count < len(cases) for count in selected.values()), selected


def inside(outer: object, link: int = 1) -> bytes:
    return bytes(outer / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(dport=53))


@pytest.mark.parametrize(
    ("outer", "reason"),
    [
        (ETHER / IP(proto=17) / UDP(dport=4790) / VXLAN(flags="Instance") / ETHER, "not a tunnel's port"),
        (
            Ether() / IP(proto=17) / UDP(sport=4789, dport=9) / VXLAN(flags="Instance") / ETHER,
            "source port",
        ),
        (ETHER / IP() / UDP(dport=4789) / VXLAN(flags=0) / ETHER, "VXLAN without the I flag"),
        (ETHER / IP() / UDP(dport=6081) / GENEVE(version=1, proto=0x6558) / ETHER, "unknown Geneve"),
        (ETHER / IP() / GRE(version=1, proto=0x0800), "PPTP's GRE"),
        (ETHER / IP() / GRE(routing_present=1, proto=0x0800), "GRE with source routing"),
        (ETHER / IP() / GRE(proto=0x8847), "GRE with MPLS"),
        (ETHER / IP(frag=10, proto=47) / GRE(proto=0x0800), "a later fragment"),
        (ETHER / IP(frag=0x1000, proto=47) / GRE(proto=0x0800), "a much later fragment"),
        (ETHER / IPv6() / IPv6ExtHdrFragment(offset=10) / GRE(proto=0x0800), "a later fragment"),
        (ETHER / IP(ihl=4, proto=4), "an impossible header length"),
        (Ether(src=ETHER.src, dst=ETHER.dst, type=0x88CC), "not IP"),
        (ETHER, "in no tunnel"),
    ],
)
def test_what_is_in_no_known_tunnel_is_not_selected(native, tmp_path, outer, reason):
    source = filter_c(compile_filter(""), compile_filter(""))
    call = "static int f(const ktd_u8 *p, ktd_u32 c, ktd_u32 w) { return ktd_filter(p, c, w, 1); }"
    machine = native(tmp_path, [source, call], ["f"])
    packet = inside(outer)
    assert machine.run(0, native.corpus([(packet, len(packet))]))[0] == 0, reason


def test_random_bytes_never_read_outside(native, tmp_path):
    # The buffer ends where the macro says; an address sanitizer would see a byte after it.
    source = filter_c(compile_filter(""), compile_filter("ip[ip[8]] = 1 or tcp port 80"))
    main = """
    #include <stdlib.h>
    int main(void)
    {
        unsigned char *buffer = malloc(KTD_FILTER_BUFFER);
        unsigned selected = 0;
        srand(1);
        for (int i = 0; i < 100000; i++) {
            for (int j = 0; j < KTD_FILTER_BUFFER; j++) buffer[j] = rand() % 3 ? rand() & 63 : rand();
            /* Half of the packets get far enough to be a tunnel's. */
            buffer[12] = 8; buffer[13] = 0; buffer[14] = 0x45 + rand() % 9; buffer[20] = buffer[21] = 0;
            buffer[23] = rand() & 1 ? 4 : 47;
            selected += ktd_filter(buffer, rand() % 300, rand() % 2000, rand() % 8 != 0);
        }
        free(buffer);
        return selected == 0;
    }
    """
    (tmp_path / "fuzz.c").write_text(source + main)
    options = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-DKTD_FILTER_NATIVE"]
    subprocess.run(["gcc", *options, "-o", tmp_path / "fuzz", tmp_path / "fuzz.c"], check=True)
    subprocess.run([tmp_path / "fuzz"], check=True, timeout=60)
