"""Runs in the guest for bench_startup.py: seconds to the first event and peak memory, as JSON.

The baseline is the least that any BCC tool does: one probe, one event through a ring buffer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

BARE = """
import importlib.util, os, sys
path = "/usr/lib/python3/dist-packages/bcc"
spec = importlib.util.spec_from_file_location("bcc", path + "/__init__.py", submodule_search_locations=[path])
bcc = sys.modules["bcc"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bcc)
bpf = bcc.BPF(text='''
#include <uapi/linux/ptrace.h>
BPF_RINGBUF_OUTPUT(events, 16);
int hit(struct pt_regs *ctx) { u64 ip = ctx->ip; events.ringbuf_output(&ip, 8, 0); return 0; }
''', cflags=["-w"])
bpf.attach_kprobe(event="ip_rcv_core", fn_name="hit")
bpf["events"].open_ring_buffer(lambda *_: (print("event", flush=True), os._exit(0)))
while True:
    bpf.ring_buffer_poll()
"""


def first_event(command: list[str]) -> dict[str, float]:
    """Return seconds from the start of ``command`` to the line that tells an event, and peak MB."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(("event", "1 ")):  # BARE's word; the table's first row
            break
    seconds = time.monotonic() - begin
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, (command, status)
    # ru_maxrss is the process's VmHWM, in KiB (getrusage(2))
    return {"seconds": seconds, "peak MB": usage.ru_maxrss / 1024}


def main() -> None:
    """Measure twice: with nothing read since the boot, and again."""
    ours = [sys.executable, "-m", "ktcpdump_tui", "--no-tui", "-d", sys.argv[1], "-c", "1"]
    ping = subprocess.Popen(["ping", "-q", "-i", "0.2", "127.0.0.1"], stdout=subprocess.DEVNULL)
    told: dict[str, dict[str, float]] = {}
    try:
        for when in ("cold", "warm"):
            told[f"bare BCC, {when}"] = first_event([sys.executable, "-c", BARE])
            told[f"ip_rcv_core+*, {when}"] = first_event([*ours, "-i", "ip_rcv_core+*", "icmp"])
        told["--survey"] = first_event([*ours, "--survey", "icmp"])
    finally:
        ping.terminate()
        ping.wait()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
