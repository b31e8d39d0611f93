"""EXPRESSION and --filter-tunnel in the kernel: long ones are accepted, and select the right packets.

What is expected follows from what scenes/tunnels.sh sends.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.lab import Lab
    from tests.kernel.harness import Captured

SCENE = Path(__file__).parent / "scenes" / "tunnels.sh"

#: Long enough that a verifier which follows every path would give up.
HOSTS = " or ".join(f"host 192.0.2.{number}" for number in range(1, 31))


@pytest.fixture(scope="module", autouse=True)
def modules(lab: Lab) -> None:
    lab.check_output("modprobe -a veth 8021q vxlan ipip")


def selected(captured: Captured) -> list[dict[str, Any]]:
    """Return the events: each packet passes the one probe, at the wire, once."""
    events = [line for line in captured.json if line.get("type", "event") == "event"]
    assert {event["symbol"] for event in events} <= {"veth_xmit"}
    return events


def networks(events: list[dict[str, Any]]) -> Counter[int]:
    """Return how many packets went from 10.N.0.x, by N, as the packet's first IP header says."""
    packets = [bytes.fromhex(event["packet"]) for event in events]
    return Counter(packet[27] for packet in packets)


def test_vlan_tags_that_the_kernel_took_out_of_the_packet_are_compared(
    capture: Callable[..., Captured],
) -> None:
    expression = f"vlan 5 and icmp and (host 10.5.0.1 or {HOSTS})"
    captured = capture(["--json", "-i", "veth_xmit", expression], traffic=str(SCENE), timeout=300)
    assert networks(selected(captured)) == {5: 6}, captured.stderr


@pytest.mark.long
def test_an_expression_that_names_no_tag_selects_tagged_packets_too(capture: Callable[..., Captured]) -> None:
    echo = "icmp[icmptype] == icmp-echo or icmp[icmptype] == icmp-echoreply"
    captured = capture(["--json", "-i", "veth_xmit", echo], traffic=str(SCENE), timeout=300)
    assert networks(selected(captured)) == {1: 4, 5: 6}, captured.stderr


@pytest.mark.long
def test_packets_are_selected_by_what_is_in_their_tunnel(capture: Callable[..., Captured]) -> None:
    inner = f"udp dst port 4242 or {HOSTS}"
    captured = capture(
        ["--json", "-i", "veth_xmit", "--filter-tunnel", inner], traffic=str(SCENE), timeout=300
    )
    events = selected(captured)
    protocols = Counter(bytes.fromhex(event["packet"])[23] for event in events)
    assert protocols == {17: 3, 4: 2}
    assert networks(events) == {1: 5}
