"""The rate guard: how much of a CPU tracing takes, and whether that is still acceptable.

The kernel measures the run time of BPF programs while asked to (include/uapi/linux/bpf.h:
BPF_ENABLE_STATS). What it does not measure is the trap that leads to the program, so a fixed cost per run
is added.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from dataclasses import dataclass
from typing import Final

#: include/uapi/linux/bpf.h: enum bpf_cmd.
_BPF_OBJ_GET_INFO_BY_FD: Final = 15
_BPF_ENABLE_STATS: Final = 32
#: x86-64 system call number of bpf(2).
_SYS_BPF: Final = 321

#: struct bpf_prog_info: run_time_ns, run_cnt, recursion_misses.
_INFO_BYTES: Final = 216
_RUN_TIME: Final = struct.Struct("<192xQQQ")

#: ns for the trap and the way to the program and back, which the statistics leave out. An int3 probe
#: costs 0.3-0.8 us on current servers.
TRAP_NS: Final = 500

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attribute: bytes) -> int:
    buffer = ctypes.create_string_buffer(attribute, len(attribute))
    result = int(_libc.syscall(_SYS_BPF, command, buffer, len(attribute)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@dataclass(frozen=True, slots=True)
class RunTime:
    """What a program has used since statistics were switched on: ns, number of runs, runs skipped."""

    nanoseconds: int
    runs: int
    skipped: int


def run_time(program: int) -> RunTime:
    """Return the statistics of the BPF program behind the descriptor; OSError where the kernel keeps none."""
    info = ctypes.create_string_buffer(_INFO_BYTES)
    _bpf(_BPF_OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", program, _INFO_BYTES, ctypes.addressof(info)))
    return RunTime(*_RUN_TIME.unpack_from(info.raw))


class RateGuard:
    """Tells when tracing has taken more than ``share`` of one CPU for a whole second.

    ``programs`` are descriptors. ``check`` is called now and then (several times a second).
    """

    PERIOD: Final = 1.0

    def __init__(self, programs: list[int], share: float) -> None:
        self.share = share
        self.used = 0.0
        self._programs = programs
        self._stats = -1
        self._since = time.monotonic()
        self._total = 0
        try:
            self._stats = _bpf(_BPF_ENABLE_STATS, struct.pack("<I", 0))
            self._total = self._spent()
        except OSError:
            # Before Linux 5.8 there are no statistics to ask for; `available` says so.
            self._stats = -1

    @property
    def available(self) -> bool:
        """Whether this kernel measures its BPF programs."""
        return self._stats >= 0

    def _spent(self) -> int:
        times = [run_time(program) for program in self._programs]
        return sum(one.nanoseconds + one.runs * TRAP_NS for one in times)

    def check(self) -> bool:
        """Return True where the last whole second was over the limit."""
        now = time.monotonic()
        elapsed = now - self._since
        if not self.available or elapsed < self.PERIOD:
            return False
        spent = self._spent()
        self.used = (spent - self._total) / 1e9 / elapsed
        self._since, self._total = now, spent
        return self.share > 0 and self.used > self.share

    def close(self) -> None:
        """Switch the statistics off again."""
        if self._stats >= 0:
            os.close(self._stats)
            self._stats = -1
