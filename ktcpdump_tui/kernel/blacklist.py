"""Code the kernel allows no kprobes in, from debugfs (kernel/kprobes.c: kprobe_blacklist_seq_show)."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import Final

BLACKLIST: Final = Path("/sys/kernel/debug/kprobes/blacklist")


class Blacklist:
    """Ranges of addresses; empty where debugfs is not mounted, and then only the kernel's refusal tells."""

    def __init__(self, text: str) -> None:
        """Take the file's text: lines of ``0xLOW-0xHIGH``, a tab, and a name."""
        ranges = []
        for line in text.splitlines():
            span, _, _ = line.partition("\t")
            low, _, high = span.partition("-")
            if high:
                ranges.append((int(low, 16), int(high, 16)))
        self._ranges = sorted(ranges)

    @classmethod
    def read(cls, path: Path = BLACKLIST) -> Blacklist:
        """Read the running kernel's list."""
        try:
            return cls(path.read_text())
        except OSError:
            return cls("")

    def __contains__(self, address: int) -> bool:
        at = bisect_right(self._ranges, (address, 1 << 64)) - 1
        # ranges may nest (.noinstr.text holds functions that are listed too): look back a little
        return any(low <= address < high for low, high in self._ranges[max(0, at - 8) : at + 1])

    def __len__(self) -> int:
        return len(self._ranges)
