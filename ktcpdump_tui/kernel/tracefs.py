"""Where tracefs is mounted (Documentation/trace/ftrace.rst)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ktcpdump_tui.errors import UserError

#: The second is where it was until 4.1, and still is on many systems.
PLACES: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))


def find_tracefs(places: tuple[Path, ...] = PLACES) -> Path:
    """Return the mount point of tracefs; UserError with the command that mounts it where there is none."""
    for place in places:
        try:
            if (place / "trace_pipe").exists():
                return place
        except PermissionError as error:
            raise UserError("probing the kernel needs root", "run it as root: sudo ktcpdump-tui …") from error
    if places[0].is_dir():
        raise UserError(f"tracefs is not mounted on {places[0]}", f"mount -t tracefs tracefs {places[0]}")
    raise UserError(
        "this kernel has no tracefs (CONFIG_TRACING, CONFIG_KPROBE_EVENTS is not set)",
        "capture in a virtual machine with a stock kernel: ktcpdump-tui --lab",
    )
