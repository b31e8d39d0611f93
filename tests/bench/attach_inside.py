"""Runs in the guest: how long attaching takes, as a few events and with one call per address."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import struct
import sys
import time
from pathlib import Path

from ktcpdump_tui.capture.attach import KprobeEvents
from tests.kernel.attach_inside import Kernel, empty_program

_SET_BPF = 0x40042408


def one_each(addresses: list[int], program: int) -> dict[str, float]:
    """One perf event per address, as BCC's attach_kprobe opens it."""
    kind = int(Path("/sys/bus/event_source/devices/kprobe/type").read_text())
    libc = ctypes.CDLL(None, use_errno=True)
    started = time.monotonic()
    descriptors = []
    for address in addresses:
        attributes = bytearray(128)
        # type, size, config, sample_period, sample_type, read_format, flags, wakeup, bp_type,
        # config1 (a symbol's name, none), config2 (the address)
        struct.pack_into("<IIQQQQQIIQQ", attributes, 0, kind, 128, 0, 1, 0, 0, 0, 0, 0, 0, address)
        buffer = (ctypes.c_char * 128).from_buffer(attributes)
        descriptor = int(libc.syscall(298, buffer, -1, 0, -1, 8))
        assert descriptor >= 0, os.strerror(ctypes.get_errno())
        fcntl.ioctl(descriptor, _SET_BPF, program)
        descriptors.append(descriptor)
    attached = time.monotonic()
    for descriptor in descriptors:
        os.close(descriptor)
    return {"attach": attached - started, "detach": time.monotonic() - attached}


def together(kernel: Kernel, addresses: list[int], program: int) -> dict[str, float]:
    started = time.monotonic()
    with KprobeEvents(kernel.text_base) as events:
        refused = events.define("insn", addresses).refused
        events.attach({"insn": program})
        attached = time.monotonic()
    ended = time.monotonic()
    return {"attach": attached - started, "detach": ended - attached, "refused": len(refused)}


def main() -> None:
    kernel = Kernel()
    program = empty_program()
    few = kernel.plan("ip_rcv_core+*").addresses[:200]
    told = {
        "addresses": len(few),
        "together": together(kernel, few, program),
        "one each": one_each(few, program),
    }
    if len(sys.argv) > 1:
        wanted = int(sys.argv[1])
        many = kernel.plan("tcp_v4_rcv+*", "__netif_receive_skb_core+*", "ip_rcv_core+*").addresses[:wanted]
        told["many"] = {"addresses": len(many), **together(kernel, many, program)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
