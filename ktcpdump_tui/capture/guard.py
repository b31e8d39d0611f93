"""The rate guard: how much of a CPU tracing takes, and whether that is still acceptable.

Counted is what packets pay, on all CPUs together: the traps, and the time in our BPF programs. What one trap
costs differs by a factor of ten between machines, so it is measured on this one (``measure_trap``); how many
there were the kernel counts anyhow (kprobe_profile). The programs time themselves where they do anything; a
look at a packet that is not ours is some ns and part of a trap's price. Not counted is what storing the trace
costs: that is a thread of ours, which the scheduler holds back.

The kernel's own statistics (BPF_ENABLE_STATS) would cost each run something, and switching them patches code
that all CPUs are running: in a machine emulated by software that is the end of it now and then (seen: "Oops:
int3" in bpf_trace_run2).
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.capture.attach import KprobeEvents

#: include/uapi/linux/bpf.h: enum bpf_cmd.
_BPF_OBJ_GET_INFO_BY_FD: Final = 15
#: x86-64 system call number of bpf(2).
_SYS_BPF: Final = 321

#: struct bpf_prog_info up to recursion_misses, which is its last field here.
_INFO_BYTES: Final = 216
_MISSES: Final = struct.Struct("<208xQ")

#: ns for a trap where it cannot be measured: an int3 probe costs 0.3-0.8 us on current servers.
TRAP_NS: Final = 500.0

#: A hit through the function tracer costs a fifth of a trap or less: no exception, no single step.
TRACER_SHARE: Final = 0.2

#: Name of the event ``measure_trap`` defines.
_CALIBRATION: Final = "calibration"

#: Calls per go, and goes, of which the fastest counts: nothing else can make a call faster than it is.
_CALLS: Final = 200
_GOES: Final = 9


def runs_skipped(program: int) -> int:
    """Return how often the BPF program behind the descriptor was not run because one was running already.

    OSError where the kernel does not tell; 0 where it does not count (before 6.5, for kprobes).
    """
    info = ctypes.create_string_buffer(_INFO_BYTES)
    attribute = struct.pack("<IIQ", program, _INFO_BYTES, ctypes.addressof(info))
    buffer = ctypes.create_string_buffer(attribute, len(attribute))
    libc = ctypes.CDLL(None, use_errno=True)
    if int(libc.syscall(_SYS_BPF, _BPF_OBJ_GET_INFO_BY_FD, buffer, len(attribute))) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(_MISSES.unpack_from(info.raw)[0])


def measure_trap(
    events: KprobeEvents, address: int, program: int, call: Callable[[], object] = os.getppid
) -> float:
    """Return the ns that a probe with BPF ``program`` costs here: ``call`` with and without one.

    ``address`` is an instruction that each ``call`` executes once; TRAP_NS where the kernel refuses it.
    """
    probes = events.define(_CALIBRATION, [address])
    if not probes.attached:
        return TRAP_NS
    plain = _fastest(call)
    events.attach({_CALIBRATION: program})
    try:
        trapped = _fastest(call)
    finally:
        events.disarm(probes)
    return max(trapped - plain, 0.0)


def _fastest(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_GOES):
        begin = time.perf_counter_ns()
        for _ in range(_CALLS):
            call()
        best = min(best, (time.perf_counter_ns() - begin) / _CALLS)
    return best


class RateGuard:
    """Tells when tracing has taken more than ``share`` of one CPU for a whole second; 0 never does."""

    PERIOD: Final = 1.0

    def __init__(self, share: float, now: Callable[[], float] = time.monotonic) -> None:
        self.share = share
        self.used = 0.0
        self._now = now
        self._since = now()
        self._before = 0.0

    def check(self, spent: float) -> bool:
        """Return True where the last whole second was over the limit.

        ``spent`` are the ns that tracing has taken since it began; to be called several times a second.
        """
        elapsed = self._now() - self._since
        if elapsed < self.PERIOD:
            return False
        self.used = (spent - self._before) / 1e9 / elapsed
        self._since += elapsed
        self._before = spent
        return 0 < self.share < self.used
