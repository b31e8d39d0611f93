"""The rate guard: probes that take too much of a CPU are taken away, and what was seen is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.lab import Lab
    from tests.kernel.harness import Captured

SPEC = ["-i", "ip_rcv_core+*"]

#: As fast as answers come: emulated, some thousands a second, over a hundred traps each.
FLOOD = "timeout 60 ping -q -f 127.0.0.1 || true"


def test_a_flood_on_probes_stops_them_and_the_trace_is_kept(
    lab: Lab, capture: Callable[..., Captured]
) -> None:
    """The flood is too much although no packet of it is selected; what came before it is kept."""
    traffic = f"ping -q -c 2 -i 0.2 -s 64 127.0.0.1; {FLOOD}"
    got = capture(["--json", "--max-cpu", "10", *SPEC, "icmp and greater 100"], traffic=traffic)
    summary = got.json[-1]
    assert summary["ended_by"] == "rate guard"
    assert "more than the 10% allowed (--max-cpu)" in got.stderr
    rows = got.json[1:-1]
    assert len(rows) == summary["events"] > 100
    assert {row["len"] for row in rows} == {20 + 8 + 64}
    assert lab.check_output("cat /sys/kernel/tracing/kprobe_events") == ""


def test_what_stays_below_the_share_goes_on(capture: Callable[..., Captured]) -> None:
    got = capture(["--json", "--max-cpu", "50", *SPEC, "icmp"], traffic="ping -q -c 6 -i 0.5 127.0.0.1")
    assert got.json[-1]["ended_by"] == "user"
    # six requests and their answers, each through the function's first instruction once
    assert sum(row["offset"] == got.json[1]["offset"] for row in got.json[1:-1]) == 12


def test_zero_switches_the_guard_off(capture: Callable[..., Captured]) -> None:
    flood = "timeout 4 ping -q -f 127.0.0.1 || true"
    got = capture(["--json", "--max-cpu", "0", *SPEC, "udp"], traffic=flood)
    assert got.json[-1]["ended_by"] == "user"
