"""From the kernel's ring buffer to the stored trace: what is lost is counted, to the last event."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ktcpdump_tui.lab import Lab

#: Minutes under emulation: see CONTRIBUTING.
pytestmark = pytest.mark.long

#: Of ip_rcv_core, at most: so many events has a packet there, in which nothing is a loop.
INSTRUCTIONS = 210

INSIDE = Path(__file__).with_name("worker_inside.py")
ROOT = Path(__file__).parents[2]


def flood(lab: Lab, ring_bytes: int) -> dict[str, Any]:
    command = [sys.executable, str(INSIDE), str(lab.vmlinux), str(ring_bytes)]
    return dict(json.loads(lab.check_output(command, timeout=480, env={"PYTHONPATH": str(ROOT)})))


@pytest.mark.parametrize("ring_bytes", [1 << 14, 64 << 20])
def test_sent_is_stored_and_lost_and_what_the_kernel_counted(lab: Lab, ring_bytes: int) -> None:
    """800 packets, each some hundred instructions; a ring of 16 KiB holds 34 of them, one of 64 MiB all.

    However late the worker comes: a slow machine does not let it keep up.
    """
    told = flood(lab, ring_bytes)
    events, lost, missed = told["summary"]
    assert told["sent"] > 800 * 60
    assert told["stored"] == events == told["distinct"]
    assert told["sent"] == events + lost
    assert (lost > 0) == (ring_bytes < 1 << 20)
    # those lost in a CPU's last ping, after its last event stored: nothing comes later that shows that gap
    assert 0 <= lost - told["gaps"] <= told["cpus"] * 2 * INSTRUCTIONS
    # probes hit while a program was running already are in the kernel's count, and in nobody's events
    assert 0 <= told["hits"] - told["sent"] <= max(missed, told["skipped"])
