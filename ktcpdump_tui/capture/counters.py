"""What the BPF program counts, read through shared memory.

Reading a map by system call keeps BPF programs from running on that CPU for as long (kernel/bpf/syscall.c:
bpf_disable_instrumentation), interrupts excepted: a burst of packets that arrives just then would pass unseen
by all our probes. Maps that can be mapped into our memory need no system call.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.capture.guard import TRACER_SHARE

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The members of struct per_cpu (bpf/trace.c), each a u64; the rest of its bytes is padding.
PER_CPU: Final = (
    "seq",
    "lost_events",
    "lost_notes",
    "states",
    "deep",
    "cut_packets",
    "cut_stacks",
    "spent",
    "traced",
)
PER_CPU_BYTES: Final = 128

_NAMES: Final = {"lost_events": "ring buffer full", "lost_notes": "notes lost", "deep": "frames too deep"}


class Counters:
    """The maps ``cpus`` and ``packet_count`` (bpf/trace.c), given by their descriptors, of ``cpus`` CPUs."""

    def __init__(self, cpus_map: int, packets_map: int, cpus: int) -> None:
        self._maps = (
            _map(cpus_map, cpus * PER_CPU_BYTES),
            _map(packets_map, 2 * 8),
        )
        words = np.frombuffer(self._maps[0], np.uint64, cpus * PER_CPU_BYTES // 8)
        self._cpus: NDArray[np.uint64] = words.reshape(cpus, -1)
        self._packets: NDArray[np.uint64] = np.frombuffer(self._maps[1], np.uint64, 2)

    def _total(self, name: str) -> int:
        return int(self._cpus[:, PER_CPU.index(name)].sum())

    def losses(self) -> dict[str, int]:
        """Return what was lost inside the program so far, by cause, over all CPUs."""
        return {cause: self._total(name) for name, cause in _NAMES.items()}

    def truncated(self) -> dict[str, int]:
        """Return how many events have less than the whole: of the packet (-S), of the frame on the stack."""
        return {"packet": self._total("cut_packets"), "stack": self._total("cut_stacks")}

    def spent(self, trap: float, hits: int) -> float:
        """Return the ns that packets have paid so far: ``hits`` traps of ``trap`` ns, and what is in them."""
        return self._total("spent") + trap * (hits + self._total("traced") * TRACER_SHARE)

    def sent(self) -> int:
        """Return how many events the program has tried to send, over all CPUs."""
        return self._total("seq")

    def packets(self, limit: int) -> tuple[int, int]:
        """Return how many packets were selected, and how many were made from those (clones ...).

        ``limit`` is what the program selects at most, 0 for no limit; tries beyond do not count.
        """
        identities, selected = (int(one) for one in self._packets)
        if limit:
            selected = min(selected, limit)
        return selected, max(identities - selected, 0)

    def close(self) -> None:
        """Unmap; nothing can be read any more."""
        del self._cpus, self._packets
        for one in self._maps:
            one.close()


def _map(descriptor: int, size: int) -> mmap.mmap:
    whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    return mmap.mmap(descriptor, whole, mmap.MAP_SHARED, mmap.PROT_READ)
