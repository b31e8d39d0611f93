"""No event of another packet, none missing: flows side by side, and functions on top of each other."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.kernel.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.lab import Lab
    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace

#: Minutes under emulation: see CONTRIBUTING.
pytestmark = pytest.mark.long

#: Datagrams of each of three flows, and how many packets of one of them are asked for.
COUNT, ASKED = 3400, 3000

#: Bytes of IP and UDP header.
HEADERS = 28


@pytest.fixture(scope="module")
def flows(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trace, list[Event]]]:
    """Flow 2 of three, until its first packets have come to rest: the ring has room for all the events."""
    path = tmp_path_factory.mktemp("flows") / "flows.ktrace"
    words = ["-i", "ip_rcv,ip_local_deliver_finish:*", "--packets", str(ASKED), "udp dst port 9002"]
    traffic = f"python3 tests/kernel/scenes/flows.py {COUNT} && sleep 60"
    with recorded(lab, path, words, traffic=traffic, timeout=240) as (trace, _):
        yield trace, list(trace.events(1, len(trace)))


def numbered(event: Event) -> tuple[int, int]:
    """Return the flow and number that the generator wrote into a datagram."""
    flow, number = struct.unpack_from(">II", event.packet, HEADERS + 14 * (event.link == "ethernet"))
    return flow, number


def test_of_three_flows_on_two_cpus_one_is_seen_and_nothing_else(
    lab: Lab, flows: tuple[Trace, list[Event]]
) -> None:
    trace, events = flows
    sent = json.loads(lab.check_output("cat /tmp/flows.json"))
    assert sum(sum(cpus.values()) for cpus in sent.values()) == 3 * COUNT > 10_000
    assert all(sent["2"].values())
    assert {numbered(event)[0] for event in events} == {2}, trace.summary
    assert {event.cpu for event in events} == {0, 1}
    assert trace.summary is not None
    assert (trace.summary.ended_by, trace.summary.packets) == ("packets", ASKED), trace.summary


def test_none_of_its_packets_is_missing(flows: tuple[Trace, list[Event]]) -> None:
    """Each number once; what is missing would be counted as lost."""
    trace, events = flows
    assert trace.summary is not None
    received = Counter(numbered(event)[1] for event in events if event.instruction.symbol == "ip_rcv")
    missing = set(range(ASKED)) - received.keys()
    lost = sum(trace.summary.lost.values())
    assert len(missing) <= lost
    if not lost:
        assert received == Counter(range(ASKED))
        inside = Counter(
            numbered(event)[1] for event in events if event.instruction.symbol == "ip_local_deliver_finish"
        )
        assert len(inside) == ASKED
        assert len(set(inside.values())) == 1  # every packet took the same lines


def test_each_packet_has_one_identity(flows: tuple[Trace, list[Event]]) -> None:
    _, events = flows
    numbers: dict[int, set[int]] = {}
    for event in events:
        numbers.setdefault(event.packet_id, set()).add(numbered(event)[1])
    assert all(len(one) == 1 for one in numbers.values())
    assert len(numbers) == ASKED


# the same function several times on one stack

#: What the client's ping is filled with, and its IP length.
PATTERN, LENGTH = bytes.fromhex("feedbeef"), 20 + 8 + 184

NESTED = "dev_hard_start_xmit+*,vxlan_xmit,vxlan_rcv,br_handle_frame,veth_xmit,icmp_rcv,fib_table_lookup"

#: The devices each of those packets is sent over: requests and answers, behind the bridges and between them.
WAYS = [
    ["n0", "vx0", "w0"],
    ["n0", "vx0", "w0"],
    ["br0", "vx0", "w0", "m0"],
    ["br0", "vx0", "w0", "m0"],
    *[["ipip1", "w0"], ["gre1", "w0"]] * 2,
]


@pytest.fixture(scope="module")
def nested(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trace, list[Event]]]:
    lab.check_output("modprobe -a veth vxlan bridge ipip ip_gre")
    path = tmp_path_factory.mktemp("nested") / "nested.ktrace"
    words = ["-i", NESTED, f"icmp and ip[2:2] == {LENGTH}"]
    with recorded(lab, path, words, traffic="bash tests/kernel/scenes/nested.sh", timeout=240) as (trace, _):
        yield trace, list(trace.events(1, len(trace)))


def sending(events: list[Event]) -> list[Event]:
    """Return the events of the function that is entered again and again."""
    return [event for event in events if event.instruction.symbol == "dev_hard_start_xmit"]


def test_every_event_is_of_the_ping_that_was_asked_for(nested: tuple[Trace, list[Event]]) -> None:
    """Other packets went through the same functions all the time, below and beside."""
    trace, events = nested
    assert trace.summary is not None
    assert sum(trace.summary.lost.values()) == 0
    assert events
    assert all(PATTERN in event.packet for event in events)


def test_a_packet_stays_itself_through_bridge_and_tunnels(nested: tuple[Trace, list[Event]]) -> None:
    """Each is sent over its devices in the order of the topology, into the tunnels and out of them."""
    _, events = nested
    ways: dict[int, list[str | None]] = {}
    for event in sending(events):
        if event.found_by.value == "argument":
            ways.setdefault(event.packet_id, []).append(event.dev)
    assert sorted(ways.values(), key=str) == sorted(WAYS, key=str)
    at = {
        name: [event.packet_id for event in events if event.instruction.symbol == name]
        for name in ("vxlan_xmit", "vxlan_rcv", "icmp_rcv")
    }
    assert sorted(at["icmp_rcv"]) == sorted(ways)
    assert sorted(at["vxlan_xmit"]) == sorted(at["vxlan_rcv"])
    assert len(at["vxlan_rcv"]) == 4


def test_frames_are_entered_and_left_like_brackets(nested: tuple[Trace, list[Event]]) -> None:
    """Each event is of the innermost frame that is open; every frame that is entered is left."""
    _, events = nested
    open_frames: dict[int, list[int]] = {}
    deepest = entered = 0
    for event in sending(events):
        frames = open_frames.setdefault(event.cpu, [])
        assert event.cfa is not None
        if event.found_by.value == "argument":
            frames.append(event.cfa)
            entered += 1
            deepest = max(deepest, len(frames))
        assert frames[-1] == event.cfa
        if event.instruction.flow.value == "return":
            frames.pop()
    assert entered == sum(map(len, WAYS))
    assert deepest >= 3
    assert not any(open_frames.values())


def test_tracefs_saw_the_same_frames(lab: Lab, nested: tuple[Trace, list[Event]]) -> None:
    """The kernel's own probe on the same entry: packet, and stack pointer 8 below the frame's address."""
    _, events = nested
    text = lab.check_output("cat /tmp/nested.trace")
    found = re.findall(r"xmit: .*skb=(0x[0-9a-f]+) sp=(0x[0-9a-f]+)", text)
    theirs = Counter((int(skb, 16), int(sp, 16) + 8) for skb, sp in found)
    ours = Counter((event.skb, event.cfa) for event in sending(events) if event.found_by.value == "argument")
    assert sum(ours.values()) == sum(map(len, WAYS))
    assert all(theirs[frame] >= count for frame, count in ours.items())
    assert sum(theirs.values()) > 100  # the others, which are not ours


def test_a_function_without_a_packet_takes_its_callers(nested: tuple[Trace, list[Event]]) -> None:
    """The tunnel looks up where to send the packet; the other senders' look-ups are theirs."""
    _, events = nested
    lookups = [event for event in events if event.instruction.symbol == "fib_table_lookup"]
    assert {event.found_by.value for event in lookups} == {"caller"}
    assert all(PATTERN in event.packet for event in lookups)
