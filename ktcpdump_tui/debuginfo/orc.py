"""Frame rules from ORC, the kernel's own unwind tables (Documentation/arch/x86/orc-unwinder.rst).

``.orc_unwind_ip`` holds an s32 per entry, the distance from itself to the first instruction the entry is
for; ``.orc_unwind`` the entries (struct orc_entry, arch/x86/include/asm/orc_types.h): two s16 offsets, then
a u16 with sp_reg in bits 0-3, bp_reg in 4-7 and the type from bit 8 on. Both are in a vmlinux, in a module
and in the memory of the running kernel.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.model import FrameRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.debuginfo.image import DebugImage

_ENTRY = np.dtype([("sp_offset", "<i2"), ("bp_offset", "<i2"), ("bits", "<u2")])

#: sp_reg (ORC_REG_*): DWARF register number, whether sp_offset is added, whether the sum is an address that
#: holds the CFA. ORC_REG_SP_INDIRECT adds after loading, which a FrameRule cannot say, and is only used where
#: the kernel switches stacks.
_BASES: Final = {
    2: (1, False, False),  # DX
    3: (5, False, False),  # DI
    4: (6, True, False),  # BP
    5: (7, True, False),  # SP
    6: (10, False, False),  # R10
    7: (13, False, False),  # R13
    8: (6, True, True),  # BP_INDIRECT
}


#: Distances wrap around at 64 bits.
_HALF: Final = 1 << 63
_ALL: Final = (1 << 64) - 1


class OrcTable:
    """The ORC entries of the kernel or of one module, by address.

    ``ips`` and ``entries`` are the bytes of the two tables, ``ips_address`` is where the first of them lies:
    addresses in and out are of the same kind as that (link-time or run-time).
    """

    def __init__(self, ips: bytes | memoryview, entries: bytes | memoryview, ips_address: int) -> None:
        count = min(len(ips) // 4, len(entries) // _ENTRY.itemsize)
        distances = np.frombuffer(ips, "<i4", count=count).astype(np.int64)
        places = np.arange(count, dtype=np.int64) * 4
        # Relative to the table, so that kernel addresses, which are negative as s64, need no care.
        self._origin = ips_address
        self._starts = distances + places
        self._entries = np.frombuffer(entries, _ENTRY, count=count)
        if (self._starts[1:] < self._starts[:-1]).any():  # a module's are sorted when it is loaded
            order = np.argsort(self._starts, kind="stable")
            self._starts, self._entries = self._starts[order], self._entries[order]

    def __len__(self) -> int:
        return len(self._starts)

    @cached_property
    def call_type(self) -> int:
        """The number of the type of ordinary functions.

        It is 0 in Linux 6.1 and 2 (ORC_TYPE_CALL) in 6.12; most entries have it, so no version is asked for.
        """
        return int(np.bincount(self._entries["bits"] >> 8 & 7, minlength=8).argmax()) if len(self) else 2

    def rule(self, address: int) -> FrameRule | None:
        """Return how to find the CFA at ``address``; None outside functions and in entry code."""
        return self.rules([address])[0]

    def rules(self, addresses: Sequence[int]) -> list[FrameRule | None]:
        """Return ``rule`` of each address."""
        if not len(self):
            return [None] * len(addresses)
        wanted = np.array(self._distances(addresses), np.int64)
        rows = np.searchsorted(self._starts, wanted, side="right") - 1
        found: list[FrameRule | None] = []
        known: dict[int, FrameRule | None] = {}
        for row in rows.tolist():
            if row < 0:
                found.append(None)
                continue
            if row not in known:
                known[row] = self._rule(row)
            found.append(known[row])
        return found

    def starts(self, low: int, high: int) -> list[int]:
        """Return the addresses in (low, high) where another entry begins."""
        first, last = np.searchsorted(self._starts, np.array(self._distances([low + 1, high]), np.int64))
        return [self._origin + int(start) & _ALL for start in distinct(self._starts[first:last])]

    def _distances(self, addresses: Sequence[int]) -> list[int]:
        return [((address - self._origin + _HALF) & _ALL) - _HALF for address in addresses]

    def _rule(self, row: int) -> FrameRule | None:
        bits = int(self._entries["bits"][row])
        base = _BASES.get(bits & 0xF)
        if base is None or bits >> 8 & 7 != self.call_type:
            return None
        register, with_offset, indirect = base
        return FrameRule(register, int(self._entries["sp_offset"][row]) if with_offset else 0, indirect)


def orc_of(image: DebugImage) -> OrcTable | None:
    """Return the ORC table in a vmlinux or module, None where it has none."""
    ips, entries = image.section_bytes(".orc_unwind_ip"), image.section_bytes(".orc_unwind")
    if not len(ips) or not len(entries):
        return None
    return OrcTable(ips, entries, image.section_addresses[".orc_unwind_ip"])
