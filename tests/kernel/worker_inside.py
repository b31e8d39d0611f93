"""Runs in the guest: a flood through a ring buffer too small for it, told as JSON: who counted what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ktcpdump_tui.capture.options import CaptureOptions
from ktcpdump_tui.capture.session import CaptureSession
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

PROFILE = Path("/sys/kernel/tracing/kprobe_profile")


def hits() -> int:
    """Return how often the kernel says that probes of ip_rcv_core ran."""
    rows = [line.split() for line in PROFILE.read_text().splitlines()]
    return sum(int(count) for name, count, _ in rows if name.startswith(("on_instruction", "on_entry")))


def settle(session: CaptureSession) -> None:
    """Wait until the worker has stored all that was not lost; three minutes at most."""
    assert session._worker is not None
    assert session._program is not None
    counters = session._program.counters
    end = time.monotonic() + 180
    while counters.sent() != session._worker.counts.stored + counters.losses()["ring buffer full"]:
        assert time.monotonic() < end
        time.sleep(0.1)


def main() -> None:
    """Capture, count in four places, and tell."""
    image, ring_bytes = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flood.ktrace"
        options = CaptureOptions(
            specs=("ip_rcv_core+*",), expression="icmp", debug_image=image, guard=0, ring_bytes=ring_bytes
        )
        session = CaptureSession(options, TraceWriter(path))
        session.start()
        program = session._program
        assert program is not None
        subprocess.run(["ping", "-q", "-f", "-c", "400", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
        # an event on each CPU after the flood: only that can tell how many were lost before it
        for cpu in sorted(os.sched_getaffinity(0)):
            settle(session)
            ping = ["taskset", "-c", str(cpu), "ping", "-q", "-c", "1", "127.0.0.1"]
            subprocess.run(ping, check=True, stdout=subprocess.DEVNULL)
        session._detach()
        told = {"hits": hits(), "sent": program.counters.sent(), "skipped": program.skipped()}
        session.stop()
        summary = session.join()
        with Trace.open(path) as trace:
            told["stored"] = len(trace)
            told["gaps"] = sum(event.lost_before for event in trace.events(1, len(trace)))
            told["distinct"] = len({(event.cpu, event.ts, event.instruction.address)
                                    for event in trace.events(1, len(trace))})  # fmt: skip
    told["summary"] = [summary.events, summary.lost["ring buffer full"], summary.lost["probe missed"]]
    told["cpus"] = os.cpu_count()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
