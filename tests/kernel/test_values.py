"""Values of what a capture is told to keep, and what there is without debug symbols, on real kernels."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.trace.values import TraceValues
from tests.kernel.recorded import recorded

if TYPE_CHECKING:
    from pathlib import Path

    from ktcpdump_tui.lab import Lab
    from ktcpdump_tui.trace.trace import Trace

PORT = 9999
#: A connected socket: the kernel keeps both ends in it.
SEND = f"bash -c 'exec 3<>/dev/udp/127.0.0.1/{PORT}; echo known >&3'"


@pytest.mark.long
def test_what_capture_names_can_be_followed(lab: Lab, tmp_path: Path) -> None:
    lab.check_output("ip link set lo up")
    words = ("-i", "ip_output,dev_hard_start_xmit", "--capture", "skb->sk", "-S", "0", "--stack", "4096")
    selected = f"udp dst port {PORT}"
    with recorded(lab, tmp_path / "sock.ktrace", (*words, selected), traffic=SEND, timeout=300) as (trace, _):
        assert trace.header.stack_bytes == 4096
        values = TraceValues(trace)
        events = list(trace.events(1, trace.summary.events))  # type: ignore[union-attr]
        assert {one.instruction.symbol for one in events} == {"ip_output", "dev_hard_start_xmit"}
        for event in events:
            source = int.from_bytes(event.packet[-8 - len("known\n") :][:2], "big")
            expected = {
                "ntohs(skb->sk->__sk_common.skc_dport)": PORT,
                "skb->sk->__sk_common.skc_dport": PORT,
                "skb->sk->__sk_common.skc_daddr": "127.0.0.1",
                "skb->sk->sk_num": source,
                "skb->sk->__sk_common.skc_num == ntohs(udp_hdr(skb)->source)": 1,
                "skb->sk->sk_family": 2,
            }
            assert {text: values.evaluate(text, event).value for text in expected} == expected
            beyond = values.evaluate("((struct inet_sock *)skb->sk)->inet_sport", event)
            assert beyond.text == "<not captured>", "a struct inet_sock is larger than what is kept"


@pytest.mark.long
def test_without_debug_symbols_there_are_offsets_and_instructions(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "bare.ktrace"
    lab.check_output("ip link set lo up")
    ping = "ping -c 1 -t 17 127.0.0.1"
    words = ("-i", "ip_rcv_core+*,ip_rcv", "icmp[icmptype] == icmp-echo")
    lab.check_output("mount -t tmpfs nothing /usr/lib/debug")
    try:
        with recorded(lab, path, words, symbols=False, traffic=ping, timeout=300) as (trace, stderr):
            without_symbols(lab, trace, stderr)
            count = trace.summary.events  # type: ignore[union-attr]
    finally:
        lab.check_output("umount /usr/lib/debug")
    shown = subprocess.run(
        [sys.executable, "-m", "ktcpdump_tui", "-r", path, "--no-tui"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[1:]
    assert len(shown) == count
    assert all(line.split()[5].startswith("??:0") for line in shown), shown[:3]
    assert any(" ip_rcv_core+" in line for line in shown)


def without_symbols(lab: Lab, trace: Trace, stderr: str) -> None:
    assert "no source lines, inlined functions and variables of the kernel's functions" in stderr
    assert f"no debug symbols for kernel {lab.release}" in stderr
    assert "apt-get install" in stderr
    events = list(trace.events(1, trace.summary.events))  # type: ignore[union-attr]
    assert len(events) > 60
    values = TraceValues(trace)
    # a packet's own functions, all attributed by their frames, whose rules the kernel itself has
    assert {one.instruction.symbol for one in events} == {"ip_rcv", "ip_rcv_core"}
    assert len({one.packet_id for one in events}) == 1
    for event in events:
        assert event.instruction.text, "every instruction is disassembled"
        assert event.instruction.source is None
        assert event.cfa is not None
        assert values.evaluate("skb->len", event).value == 84
        assert values.evaluate("ip_hdr(skb)->ttl", event).value in (17, None)
    times = [values.evaluate("ip_hdr(skb)->ttl", event).value for event in events]
    assert times.count(17) > len(times) // 2, "types come from BTF"
    # what drops a packet there: the first name on 6.1, the other since 6.11
    assert {one.call for one in trace.plan} & {"kfree_skb_reason", "sk_skb_reason_drop"}
