"""Whose probes are whose: a group of kprobe events is named after the process that made it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Process ids repeat; together with the start time (clock ticks since boot) and the process-id namespace
#: they do not.
_GROUP: Final = re.compile(r"ktcpdump_tui_(\d+)_(\d+)_(\d+)")
_LINE: Final = re.compile(rf"^[pr]\d*:(({_GROUP.pattern})/\S+)", re.MULTILINE)

#: Field 22 of /proc/PID/stat, counted from the one after the command's closing parenthesis (proc(5)).
_STARTED: Final = 19

#: The first process-id namespace sees all processes (include/linux/proc_ns.h: PROC_PID_INIT_INO).
_INITIAL_NAMESPACE: Final = 0xEFFFFFFC


def group_name(pid: int | None = None) -> str:
    """Return the name of the group of this process, or of process ``pid``."""
    return f"ktcpdump_tui_{pid or os.getpid()}_{start_time(pid)}_{namespace()}"


def start_time(pid: int | None = None) -> int | None:
    """Return when a process started, in clock ticks since boot; None where there is no such process."""
    try:
        text = Path(f"/proc/{pid or 'self'}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    # a zombie holds no descriptors any more: its probes are nobody's
    return None if fields[0] in "ZX" else int(fields[_STARTED])


def namespace(pid: int | None = None) -> int:
    """Return the number of the process-id namespace of a process, 0 where it is hidden."""
    try:
        return Path(f"/proc/{pid or 'self'}/ns/pid").stat().st_ino
    except OSError:
        return 0


def abandoned(kprobe_events: str) -> set[str]:
    """Return the ``GROUP/EVENT`` names in kprobe_events' text whose process of ours is gone."""
    alive: dict[str, bool] = {}
    found = set()
    for match in _LINE.finditer(kprobe_events):
        event, group = match[1], match[2]
        if group not in alive:
            alive[group] = _is_alive(int(match[3]), int(match[4]), int(match[5]))
        if not alive[group]:
            found.add(event)
    return found


def _is_alive(pid: int, started: int, where: int) -> bool:
    here = namespace()
    if where == here:
        return start_time(pid) == started
    if here != _INITIAL_NAMESPACE:
        return True  # made in a container we cannot look into: not ours to remove
    return any(start_time(one) == started for one in _processes() if namespace(one) == where)


def _processes() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)
