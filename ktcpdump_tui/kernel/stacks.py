"""Where the kernel's interrupt stacks are: those of tasks are aligned to their size, these are not."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui import arch

if TYPE_CHECKING:
    from ktcpdump_tui.kernel.btf import Btf
    from ktcpdump_tui.kernel.kcore import MemoryReader
    from ktcpdump_tui.kernel.symbols import Kallsyms

#: The CPUs there may ever be, as a list of ranges ("0-3,8"; Documentation/admin-guide/cputopology.rst).
POSSIBLE: Final = Path("/sys/devices/system/cpu/possible")

_POINTER: Final = struct.Struct("<Q")
_ADDRESSES: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class InterruptStacks:
    """``tops`` is the first address above each CPU's stack, by CPU number; 0 where that is not known."""

    tops: tuple[int, ...] = ()

    @property
    def start(self) -> int:
        """The lowest address of all of them, 0 where none is known."""
        return min((top for top in self.tops if top), default=arch.STACK_SIZE) - arch.STACK_SIZE

    @property
    def end(self) -> int:
        """The first address above all of them, 0 where none is known."""
        return max(self.tops, default=0)


def interrupt_stacks(
    kallsyms: Kallsyms, memory: MemoryReader, btf: Btf, possible: Path = POSSIBLE
) -> InterruptStacks:
    """Return where the running kernel's interrupt stacks are; none where its memory does not tell.

    A per-CPU variable points 8 bytes below the top (arch/x86/kernel/irq_64.c: map_irq_stack):
    ``hardirq_stack_ptr``, which 6.2 to 6.14 keep in ``struct pcpu_hot``.
    """
    offsets = kallsyms.address_of("__per_cpu_offset")
    variable = kallsyms.address_of("hardirq_stack_ptr")
    try:
        if variable is None:
            within = kallsyms.address_of("pcpu_hot")
            if within is not None:
                variable = within + btf.struct("pcpu_hot").offset("hardirq_stack_ptr")
        if offsets is None or variable is None:
            return InterruptStacks()
        return InterruptStacks(
            tuple(
                _top(memory, offsets + _POINTER.size * cpu, variable)
                for cpu in range(possible_cpus(possible))
            )
        )
    except (LookupError, OSError, ValueError):
        return InterruptStacks()


def _top(memory: MemoryReader, offset_at: int, variable: int) -> int:
    (offset,) = _POINTER.unpack(memory.read(offset_at, _POINTER.size))
    try:
        (pointer,) = _POINTER.unpack(memory.read((offset + variable) & _ADDRESSES, _POINTER.size))
    except LookupError:
        return 0  # a CPU that may come but is not there
    return pointer + _POINTER.size if pointer else 0


def possible_cpus(possible: Path = POSSIBLE) -> int:
    """Return one more than the highest number a CPU may ever have."""
    return max(int(number) for number in re.findall(r"\d+", possible.read_text())) + 1
