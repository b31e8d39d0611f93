"""Runs in the guest for bench_probe_cost.py: ns per loopback packet under different programs, as JSON."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

from ktcpdump_tui.capture.attach import KprobeEvents
from ktcpdump_tui.capture.entries import probe_set
from ktcpdump_tui.capture.options import CaptureOptions
from ktcpdump_tui.capture.program import import_bcc
from ktcpdump_tui.capture.session import CaptureSession
from ktcpdump_tui.capture.target import TargetKernel
from ktcpdump_tui.trace.stream import StreamWriter

PACKETS = 1500
ROUNDS = 5
OTHERS = "udp port 9"  # what is sent goes to another port


def per_packet() -> float:
    """Return the least ns per UDP packet over loopback of several rounds."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.perf_counter_ns()
        for _ in range(PACKETS):
            sender.send(b"x")
            receiver.recv(16)
        best = min(best, (time.perf_counter_ns() - begin) / PACKETS)
    return best


def with_session(spec: str, vmlinux: Path) -> float:
    """Return the cost with our program on ``spec`` and an expression that does not match."""
    with Path(os.devnull).open("wb") as nothing:
        options = CaptureOptions(specs=(spec,), expression=OTHERS, debug_image=vmlinux, guard=0)
        session = CaptureSession(options, StreamWriter(nothing))
        session.start()
        try:
            return per_packet()
        finally:
            session.stop()
            session.join()


def with_empty_program(spec: str, vmlinux: Path) -> float:
    """Return the cost with an empty program on the very same addresses: the floor."""
    options = CaptureOptions(specs=(spec,), expression=OTHERS, debug_image=vmlinux, guard=0)
    kernel = TargetKernel.running(options)
    probes = probe_set(kernel.plan(options))
    bcc = import_bcc()
    text = "#include <uapi/linux/ptrace.h>\nint empty(struct pt_regs *ctx) { return 0; }"
    program = bcc.BPF(text=text, cflags=["-w"]).load_func("empty", bcc.BPF.KPROBE)
    with KprobeEvents(kernel.text_base) as events:
        events.define("empty", [*probes.entries, *probes.others])
        events.attach({"empty": program.fd})
        cost = per_packet()
    kernel.close()
    return cost


def main() -> None:
    """Measure all four, one after the other."""
    vmlinux = Path(sys.argv[1])
    result = {"none": per_packet()}
    result["empty +*"] = with_empty_program("ip_rcv_core+*", vmlinux)
    result["ours +*"] = with_session("ip_rcv_core+*", vmlinux)
    result["empty +* again"] = with_empty_program("ip_rcv_core+*", vmlinux)
    result["ours :*"] = with_session("ip_rcv_core:*", vmlinux)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
