"""Shorter RCU grace periods while probes are removed.

The kernel waits for a grace period per removed address (kernel/kprobes.c: unregister_kprobe), some 20 ms
each, which makes minutes of a few thousand. /sys/kernel/rcu_expedited (Documentation/RCU, "expedited grace
periods") makes it well below a millisecond.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SWITCH: Final = Path("/sys/kernel/rcu_expedited")

#: Holds the switch's old value while it is changed: the next process mends what a killed one left.
LOCK: Final = Path("/run/ktcpdump-tui.rcu")


@contextmanager
def expedited(switch: Path = SWITCH, lock: Path = LOCK) -> Iterator[None]:
    """Keep grace periods short inside the ``with``; does without where the switch cannot be written."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        # one process at a time: each would else take the other's 1 for the machine's own setting
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = os.pread(descriptor, 16, 0).strip() or _read(switch)
        if before is None or before not in (b"0", b"1"):
            yield
            return
        os.pwrite(descriptor, before, 0)
        try:
            _write(switch, b"1")
            yield
        finally:
            _write(switch, before)
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def restore(switch: Path = SWITCH, lock: Path = LOCK) -> None:
    """Put the switch back where a process was killed while it had changed it; does nothing otherwise."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before = os.pread(descriptor, 16, 0).strip()
        if before in (b"0", b"1"):
            _write(switch, before)
            os.ftruncate(descriptor, 0)
    except BlockingIOError:
        return  # a living process is at it, and puts it back itself
    finally:
        os.close(descriptor)


def _read(switch: Path) -> bytes | None:
    try:
        return switch.read_bytes().strip()
    except OSError:
        return None


def _write(switch: Path, value: bytes) -> None:
    with contextlib.suppress(OSError):
        switch.write_bytes(value)
