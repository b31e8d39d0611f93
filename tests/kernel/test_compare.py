"""One flow, delivered and dropped in three ways: comparing names the line that decided, on both kernels."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.debuginfo.source import SourceFinder, SourceText
from ktcpdump_tui.trace.compare import compare
from ktcpdump_tui.trace.decision import decision_at
from ktcpdump_tui.trace.stream import pump
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.values import TraceValues
from ktcpdump_tui.trace.writer import TraceWriter
from tests.kernel.harness import capture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktcpdump_tui.lab import Lab

#: Minutes under emulation: see CONTRIBUTING.
pytestmark = pytest.mark.long

SPECS = (
    "ip_rcv_core+*,ip_rcv_finish_core:*,ip_forward+*,nf_hook_slow+*,nft_do_chain:*,ip_local_deliver_finish"
)
CLEAN_UP = "ip netns del a; ip netns del b; nft delete table ip ways; sysctl -qw net.ipv4.ip_forward=0"
SCENE = f"{sys.executable} tests/kernel/scenes/four_ways.py"


@pytest.fixture(scope="module")
def flow(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trace]:
    lab.check_output(f"modprobe -a veth nf_tables; {SCENE} setup")
    got = capture(
        lab,
        ["--no-tui", "-o", "-", "-d", str(lab.vmlinux), "-i", SPECS, "udp port 7000"],
        traffic=f"{SCENE} send; sleep 0.5",
        timeout=240,
    )
    path = tmp_path_factory.mktemp("compare") / "flow.ktrace"
    pump(io.BytesIO(got.stdout), TraceWriter(path), "the lab")
    lab.check_output(
        "ip netns del a; ip netns del b; nft delete table ip ways; sysctl -qw net.ipv4.ip_forward=0"
    )
    with Trace.open(path) as trace:
        yield trace


@pytest.mark.parametrize(
    ("reason", "file", "test", "shown"),
    [
        ("NETFILTER_DROP", "net/netfilter/nf_tables_core.c", "priv->mask", "regs->data"),
        ("IP_INHDR", "net/ipv4/ip_forward.c", "ttl <= 1", "ip_hdr(skb)->ttl"),
        ("IP_CSUM", "net/ipv4/ip_input.c", "ip_fast_csum(", "iph->ihl"),
    ],
)
def test_the_reported_line_is_the_decision(
    lab: Lab, flow: Trace, reason: str, file: str, test: str, shown: str
) -> None:
    """The kernel's own source says what stands on the line that is reported."""
    (delivered,) = [one for one in flow.packets() if one.fate == "consumed" and one.parent is None]
    (dropped,) = [one for one in flow.packets() if one.drop_reason == reason]
    sources = SourceFinder([lab.source_tarball], release=str(lab.release))

    def text(name: str) -> Sequence[str] | None:
        found = sources.find(name)
        return found.lines if isinstance(found, SourceText) else None

    found = compare(flow, delivered.id, dropped.id)
    assert found.decisive is not None
    values = TraceValues(flow)
    decision = decision_at(found, found.decisive, (values, values), text)
    assert decision is not None
    assert decision.file == file
    assert test in decision.statement
    assert shown in [pair.name for pair in decision.condition]
    # What is reported on both sides is what the packets are, by their own headers.
    if reason == "IP_INHDR":
        (pair,) = [pair for pair in decision.condition if pair.name == shown]
        assert (pair.a, pair.b) == ("64", "1")
