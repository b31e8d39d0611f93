"""The lives of packets: drops with reason and line, clones, fragments, segments, NAT, across namespaces.

One capture of one scene; what is expected comes from what the scene sent and from the kernel's own counters.
"""

from __future__ import annotations

import io
import json
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.debuginfo.tarball import Tarball
from ktcpdump_tui.trace.stream import pump
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter
from tests.kernel.harness import capture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.lab import Lab
    from ktcpdump_tui.model import Event, Packet

SPECS = (
    "ip_rcv,ipv6_rcv,__dev_queue_xmit,ip_forward,ip_local_deliver_finish,ip_rcv_finish_core+*,"
    "nft_do_chain:*,veth_xmit+*,nf_hook_slow,tcp_v4_rcv"
)

#: nf_hook_slow frees what a hook drops; since 6.8 nft_do_chain frees it itself, to give its reason.
NFT_DROPS = {"net/netfilter/core.c", "net/netfilter/nf_tables_core.c"}


#: What is written on a line that drops a packet.
FREES = re.compile(r"(kfree_skb|drop|NF_DROP_REASON)\w*\(")


@dataclass
class Scene:
    """A recorded scene: events by packet, and the kernel's counters."""

    trace: Trace
    counters: dict[str, int]
    source: Tarball
    by_packet: dict[int, list[Event]] = field(default_factory=dict)

    def packets(self, port: int, destination: bool = True) -> list[Packet]:
        """Return the packets that were seen with this UDP or TCP port."""
        found = []
        for packet in self.trace.packets():
            ports = {ports_of(event) for event in self.by_packet.get(packet.id, [])}
            if any(one and one[destination] == port for one in ports):
                found.append(packet)
        return found

    def dropped(self, port: int) -> Packet:
        """Return the one packet of this port that was dropped."""
        dropped = [one for one in self.packets(port) if one.fate == "dropped"]
        assert len(dropped) == 1, (port, self.packets(port))
        return dropped[0]

    def source_line(self, place: str) -> str:
        """Return the text of ``file:line`` in the kernel's own source package."""
        file, _, line = place.rpartition(":")
        data = self.source.find(file)
        assert data is not None, file
        return data.decode().splitlines()[int(line) - 1]

    def line_of(self, packet: Packet) -> str:
        """Return the file of the line that dropped a packet."""
        assert packet.drop_line, packet
        return packet.drop_line.rpartition(":")[0]


def ports_of(event: Event) -> tuple[int, int] | None:
    """Return (source, destination) port of a UDP or TCP packet as it was at an event."""
    data = event.packet[14:] if event.link == "ethernet" else event.packet
    if len(data) < 28:
        return None
    if data[0] >> 4 == 4 and data[9] in (6, 17) and not struct.unpack_from(">H", data, 6)[0] & 0x1FFF:
        at = (data[0] & 15) * 4
    elif data[0] >> 4 == 6 and data[6] in (6, 17) and len(data) >= 44:
        at = 40
    else:
        return None
    return struct.unpack_from(">HH", data, at) if len(data) >= at + 4 else None


@pytest.fixture(scope="module")
def scene(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    lab.check_output("modprobe -a veth dummy nf_tables nft_chain_nat nft_nat nft_ct sch_netem nf_conntrack")
    got = capture(
        lab,
        ["--no-tui", "-o", "-", "-d", str(lab.vmlinux), "-i", SPECS],
        traffic="bash tests/kernel/scenes/lives.sh",
        timeout=240,
    )
    path = tmp_path_factory.mktemp("lives") / "lives.ktrace"
    pump(io.BytesIO(got.stdout), TraceWriter(path), "the lab")
    counters = json.loads(lab.check_output("cat /tmp/scene.json"))
    with Trace.open(path) as trace:
        trace.refresh()
        scene = Scene(trace, counters, Tarball(lab.source_tarball))
        for event in trace.events(1, len(trace)):
            scene.by_packet.setdefault(event.packet_id, []).append(event)
        yield scene


def test_every_loss_is_counted(scene: Scene) -> None:
    """On a slow machine the ring may overflow in the burst; then the gaps are in the sequence.

    Hits of an interrupt that comes while a probe's program runs are the kernel's to skip, and are counted as
    missed: how many is a matter of the machine.
    """
    assert scene.trace.summary is not None
    lost = scene.trace.summary.lost
    gaps = sum(event.lost_before for events in scene.by_packet.values() for event in events)
    assert gaps <= lost["ring buffer full"]
    assert lost["frames too deep"] == 0
    assert lost["probe missed"] < len(scene.trace) / 10
    assert scene.trace.summary.events == sum(map(len, scene.by_packet.values()))


@pytest.mark.parametrize(
    ("port", "reason", "files"),
    [
        (7001, "NO_SOCKET", {"net/ipv4/udp.c"}),
        (7002, "NETFILTER_DROP", NFT_DROPS),
        (7003, "IP_RPFILTER", {"net/ipv4/ip_input.c"}),
        (7004, "UDP_CSUM", {"net/ipv4/udp.c"}),
        (7005, "IP_INHDR", {"net/ipv4/ip_forward.c"}),
        (7006, "QDISC_DROP", {"net/core/dev.c", "net/core/skbuff.c"}),
        (7007, "NO_SOCKET", {"net/ipv4/tcp_ipv4.c"}),
        (7008, "NETFILTER_DROP", NFT_DROPS),
        (7009, "IP_CSUM", {"net/ipv4/ip_input.c"}),
        (7012, "OTHERHOST", {"net/ipv4/ip_input.c"}),
    ],
)
def test_a_drop_names_its_reason_and_line(scene: Scene, port: int, reason: str, files: set[str]) -> None:
    packet = scene.dropped(port)
    assert packet.drop_reason == reason
    assert scene.line_of(packet) in files
    assert packet.drop_symbol
    text = scene.source_line(packet.drop_line or "")
    assert FREES.search(text), (packet.drop_line, text)


def test_the_kernels_own_counters_agree(scene: Scene) -> None:
    counters = scene.counters
    fates = [(one.drop_reason, one.id) for one in scene.trace.packets() if one.fate == "dropped"]
    names = [reason for reason, _ in fates]
    assert names.count("NETFILTER_DROP") == counters["nft_drop"] + counters["nft6_drop"] == 2
    assert names.count("UDP_CSUM") == counters["csum_errors"] == 1
    assert names.count("IP_CSUM") == counters["bad_headers"] == 1
    assert counters["overheard"] == 1


def test_nat_keeps_the_identity(scene: Scene) -> None:
    """The packet arrives for port 7010 and goes on, one packet still, to port 7011 with another source."""
    (before,) = [one for one in scene.packets(7010) if one.parent is None and one in scene.packets(7011)]
    events = scene.by_packet[before.id]
    seen = [ports_of(one) for one in events]
    first_after = next(n for n, ports in enumerate(seen) if ports and ports[1] == 7011)
    assert all(ports[1] == 7010 for ports in seen[:first_after] if ports)
    assert all(ports[1] == 7011 for ports in seen[first_after:] if ports)
    assert scene.counters["dnat"] == 1
    assert before.fate == "consumed"


def test_a_packet_keeps_its_identity_through_veth_and_namespaces(scene: Scene) -> None:
    (packet,) = [one for one in scene.packets(7002) if one.parent is None]
    events = scene.by_packet[packet.id]
    assert len({event.netns for event in events if event.netns}) == 3
    assert {"c0", "r0", "r1", "s0"} <= {event.dev for event in events}


def test_a_listener_makes_a_clone(scene: Scene) -> None:
    packets = {one.id: one for one in scene.trace.packets()}
    originals = [one.id for one in scene.packets(7020) if one.parent is None]
    clones = [one for one in packets.values() if one.origin == "clone" and one.parent in originals]
    assert clones
    assert all(one.freed_at for one in clones)


def test_fragments_and_reassembly(scene: Scene) -> None:
    packets = list(scene.trace.packets())
    fragments = [one for one in packets if one.origin == "fragment"]
    assert len(fragments) >= 3
    assert len({one.parent for one in fragments}) >= 1
    assert scene.counters["fragments"] == 3
    assert scene.counters["reassembled"] == 1
    assert any(one.origin == "reassembly" for one in packets)


def test_segments_and_merges(scene: Scene) -> None:
    packets = list(scene.trace.packets())
    segments = [one for one in packets if one.origin == "segment"]
    assert segments
    assert all(one.parent for one in segments)
    assert any(one.fate == "merged" for one in packets)


def test_functions_without_an_skb_take_their_callers(scene: Scene) -> None:
    events = [e for es in scene.by_packet.values() for e in es if e.instruction.symbol == "nft_do_chain"]
    assert {event.found_by.value for event in events} == {"caller"}
    filtered = [scene.packets(7002)[0].id, scene.packets(7008)[0].id]
    assert all(any(event.packet_id == one for event in events) for one in filtered)


def test_module_functions_have_lines(scene: Scene) -> None:
    events = [e for es in scene.by_packet.values() for e in es if e.instruction.symbol == "veth_xmit"]
    assert events
    assert {event.instruction.module for event in events} == {"veth"}
    assert all(event.instruction.source for event in events)
    assert any(e.instruction.source and e.instruction.source.file == "drivers/net/veth.c" for e in events)


def test_every_frame_is_entered_once_and_left_once(scene: Scene) -> None:
    """The events between a function's entry and its return have one CFA and one packet."""
    entries = returns = 0
    for events in scene.by_packet.values():
        for event in events:
            if event.instruction.symbol != "veth_xmit":
                continue
            if event.found_by.value == "argument":
                entries += 1
            if event.instruction.flow.value == "return":
                returns += 1
    assert returns > 0
    assert scene.trace.summary is not None
    assert abs(entries - returns) <= scene.trace.summary.lost["ring buffer full"]
