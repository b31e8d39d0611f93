"""The ORC unwind tables in the memory of the running kernel (arch/x86/kernel/unwind_orc.c).

The kernel's own lie between symbols of its linker script; a module's are two of its sections, of which sysfs
tells the address and not the size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ktcpdump_tui.kernel.modules import section_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ktcpdump_tui.kernel.kcore import MemoryReader
    from ktcpdump_tui.kernel.symbols import Kallsyms

#: An s32 in .orc_unwind_ip; struct orc_entry (arch/x86/include/asm/orc_types.h) in .orc_unwind.
_IP_BYTES: Final = 4
_ENTRY_BYTES: Final = 6


class OrcBytes(NamedTuple):
    """Both tables, and the run-time address of the first."""

    ips: bytes
    entries: bytes
    address: int


def orc_tables(
    kallsyms: Kallsyms,
    memory: MemoryReader,
    module: str | None = None,
    sections: Mapping[str, int] | None = None,
) -> OrcBytes | None:
    """Return the tables of the kernel or of a loaded ``module``; None where there are none.

    ``sections`` are the module's section addresses, read from sysfs where not given.
    """
    place = (
        _of_kernel(kallsyms)
        if module is None
        else _of_module(section_addresses(module) if sections is None else sections)
    )
    if place is None:
        return None
    ips, entries, count = place
    try:
        return OrcBytes(memory.read(ips, count * _IP_BYTES), memory.read(entries, count * _ENTRY_BYTES), ips)
    except LookupError:
        return None


def _of_kernel(kallsyms: Kallsyms) -> tuple[int, int, int] | None:
    first = kallsyms.address_of("__start_orc_unwind_ip")
    last = kallsyms.address_of("__stop_orc_unwind_ip")
    entries = kallsyms.address_of("__start_orc_unwind")
    if first is None or last is None or entries is None:
        return None
    return first, entries, (last - first) // _IP_BYTES


def _of_module(sections: Mapping[str, int]) -> tuple[int, int, int] | None:
    ips, entries = sections.get(".orc_unwind_ip", 0), sections.get(".orc_unwind", 0)
    if not ips or not entries:
        return None
    # both tables have as many entries, and neither runs into the section behind it
    count = min(_room(sections, ips) // _IP_BYTES, _room(sections, entries) // _ENTRY_BYTES)
    return ips, entries, count


def _room(sections: Mapping[str, int], address: int) -> int:
    return min((other for other in sections.values() if other > address), default=address) - address
