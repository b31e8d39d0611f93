"""Runs in the guest for bench_probe_cost.py: ns per loopback packet under different programs, as JSON.

The probes are defined once per SPEC; what is armed on them changes from round to round (nothing, an empty
program, ours), so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

from ktcpdump_tui.capture.options import CaptureOptions
from ktcpdump_tui.capture.program import import_bcc
from ktcpdump_tui.capture.session import CaptureSession
from ktcpdump_tui.trace.stream import StreamWriter

PACKETS = 60
GOES = 8
ROUNDS = 4
OTHERS = "udp port 9"  # what is sent goes to another port


class Traffic:
    """One UDP flow over loopback, each packet received before the next is sent."""

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", 0))
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.connect(self.receiver.getsockname())

    def per_packet(self) -> float:
        """Return the ns per packet, the best of several goes."""
        best = float("inf")
        for _ in range(GOES):
            begin = time.perf_counter_ns()
            for _ in range(PACKETS):
                self.sender.send(b"x")
                self.receiver.recv(16)
            best = min(best, (time.perf_counter_ns() - begin) / PACKETS)
        return best


def measure(spec: str, vmlinux: Path, empty: int, traffic: Traffic) -> dict[str, float]:
    """Return {what is armed: least ns per packet} for the probes of ``spec``."""
    with Path(os.devnull).open("wb") as nothing:
        options = CaptureOptions(specs=(spec,), expression=OTHERS, debug_image=vmlinux, guard=0)
        session = CaptureSession(options, StreamWriter(nothing))
        session.start()
        events, program = session._events, session._program
        assert events is not None
        assert program is not None
        costs: dict[str, list[float]] = {"none": [], "empty": [], "ours": []}
        for _ in range(ROUNDS):
            for name, found in costs.items():
                events.detach()
                if name != "none":
                    ours = program.functions
                    events.attach(dict.fromkeys(ours, empty) if name == "empty" else ours)
                found.append(traffic.per_packet())
        session.stop()
        session.join()
    return {name: min(found) for name, found in costs.items()}


def main() -> None:
    """Measure both modes, one after the other."""
    vmlinux = Path(sys.argv[1])
    bcc = import_bcc()
    text = "#include <uapi/linux/ptrace.h>\nint empty(struct pt_regs *ctx) { return 0; }"
    empty = bcc.BPF(text=text, cflags=["-w"]).load_func("empty", bcc.BPF.KPROBE).fd
    traffic = Traffic()
    specs = sys.argv[2:] or ["ip_rcv_core+*", "ip_rcv_core:*"]
    print(json.dumps({spec: measure(spec, vmlinux, empty, traffic) for spec in specs}))


if __name__ == "__main__":
    main()
