"""--netns, --ifname and --mark together, over --survey, for as long as --cmd runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ktcpdump_tui.lab import Lab
    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace
    from tests.kernel.harness import Captured

#: Minutes under emulation: see CONTRIBUTING.
pytestmark = pytest.mark.long

#: Two namespaces with two wires between them.
SETUP = """
for n in ky kz; do ip netns del $n 2>/dev/null || true; ip netns add $n && ip -n $n link set lo up; done
for wire in 1 2; do
  ip -n ky link add t$wire type veth peer name u$wire netns kz
  ip -n ky address add 10.4$wire.0.1/24 dev t$wire && ip -n ky link set t$wire up
  ip -n kz address add 10.4$wire.0.2/24 dev u$wire && ip -n kz link set u$wire up
  ip netns exec ky ping -q -c 1 -W 5 10.4$wire.0.2
done
"""

#: The first two are wanted, of mark 0x107 (ping takes decimals only). The others differ in one thing each:
#: the mark, the device, the namespace.
TRAFFIC = """
ip netns exec ky ping -q -c 2 -i 0.2 -m 263 -W 5 10.41.0.2
ip netns exec ky ping -q -c 1 -m 264 -W 5 10.41.0.2
ip netns exec ky ping -q -c 1 -m 263 -W 5 10.42.0.2
ip netns exec kz ping -q -c 1 -m 263 -W 5 10.41.0.1
"""


@pytest.fixture(scope="module")
def selected(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trace, list[Event]]]:
    lab.check_output("modprobe veth")
    lab.check_output(f"bash -ec '{SETUP}'")
    number = lab.check_output("stat -Lc %i /run/netns/ky").strip()
    words = ["--survey", "--netns", number, "--ifname", "t1", "--mark", "7/0xff", "--cmd", TRAFFIC, "icmp"]
    path = tmp_path_factory.mktemp("selected") / "selected.ktrace"
    try:
        with recorded(lab, path, words, timeout=300) as (trace, _):
            yield trace, list(trace.events(1, len(trace)))
    finally:
        lab.check_output("ip netns del ky; ip netns del kz")


def test_only_what_fits_all_conditions_is_selected(selected: tuple[Trace, list[Event]]) -> None:
    trace, events = selected
    assert trace.summary is not None
    assert trace.summary.packets == 2
    assert trace.summary.ended_by == "command"
    firsts = [next(e for e in events if e.packet_id == one.id) for one in trace.packets() if not one.parent]
    assert [(one.dev, one.mark) for one in firsts] == [("t1", 0x107)] * 2


def test_the_decision_holds_where_the_packet_fits_no_more(selected: tuple[Trace, list[Event]]) -> None:
    """On the other side of the wire device, namespace and mark are others."""
    _, events = selected
    other = [event for event in events if event.dev == "u1"]
    assert {event.packet_id for event in other} == {event.packet_id for event in events}
    assert {event.mark for event in other} >= {0}
    assert {event.netns for event in other} != {event.netns for event in events if event.dev == "t1"}


def test_a_survey_shows_the_way_through_kernel_and_modules(selected: tuple[Trace, list[Event]]) -> None:
    _, events = selected
    seen = {event.instruction.symbol: event.instruction for event in events}
    assert {"__dev_queue_xmit", "veth_xmit", "ip_rcv", "icmp_rcv"} <= seen.keys()
    assert len(seen) > 40
    assert seen["veth_xmit"].module == "veth"
    places = {name: one.source.file for name, one in seen.items() if one.source}
    assert places["veth_xmit"] == "drivers/net/veth.c"
    assert places["icmp_rcv"] == "net/ipv4/icmp.c"
    assert all(
        event.instruction.offset <= 9 for event in events
    )  # entries, behind endbr64 and the tracer's nop


def test_a_duration_ends_the_capture(capture: Callable[..., Captured]) -> None:
    got = capture(["--json", "-i", "ip_rcv", "--duration", "1", "udp port 9"], timeout=120)
    assert got.json[-1]["ended_by"] == "duration"
    assert got.json[-1]["events"] == 0


def test_a_command_that_fails_is_said(capture: Callable[..., Captured]) -> None:
    got = capture(["--json", "-i", "ip_rcv", "--cmd", "exit 3", "udp port 9"], timeout=120)
    assert got.json[-1]["ended_by"] == "command"
    assert "--cmd: the command failed (status 3)" in got.stderr.splitlines()
