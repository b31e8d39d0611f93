"""The rate guard: probes that take too much of a CPU are taken away, and what was seen is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.lab import Lab
    from tests.kernel.harness import Captured

#: Minutes under emulation: see CONTRIBUTING.
pytestmark = pytest.mark.long

SPEC = ["-i", "ip_rcv_core+*"]

#: As fast as answers come: emulated, some thousands a second, over a hundred traps each.
FLOOD = "timeout 60 ping -q -f 127.0.0.1 || true"


def test_a_flood_on_probes_stops_them_and_what_came_before_is_kept(
    lab: Lab, capture: Callable[..., Captured]
) -> None:
    """Six slow pings are below the share; the flood is above it, although none of it is selected."""
    traffic = f"ping -q -c 6 -i 0.4 -s 64 127.0.0.1; {FLOOD}"
    got = capture(["--json", "--max-cpu", "10", *SPEC, "icmp and greater 100"], traffic=traffic, timeout=400)
    summary = got.json[-1]
    assert summary["ended_by"] == "rate guard"
    assert "more than the 10% allowed (--max-cpu)" in got.stderr
    rows = got.json[1:-1]
    assert len(rows) == summary["events"]
    assert {row["len"] for row in rows} == {20 + 8 + 64}
    # six requests and their answers, each through the function's first instruction once
    assert sum(row["offset"] == rows[0]["offset"] for row in rows) == 12
    assert lab.check_output("cat /sys/kernel/tracing/kprobe_events") == ""
