"""Where the paths of two packets part, and where they join again.

A path is the sequence of a packet's executed instructions. Two paths are walked side by side as long as they
are equal; where they differ, they have parted at the instruction before, which is the decision (a branch, a
call through a pointer, a return). From there the nearest place is looked for where both go the same way again
for a while; then the walk goes on. Packets of two traces are compared by symbol + offset, or by function and
line where the kernels differ.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace

#: Paths have joined where so many instructions are the same: fewer may be a loop both pass by chance.
_SAME: Final = 8

#: Instructions after a parting among which the paths are looked for that join; beyond, they never do.
_FAR: Final = 200_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one packet did between parting and joining: ``count`` events of its own, ``first`` to ``last``.

    Nothing (``first`` None, ``count`` 0) where only the other packet did something.
    """

    first: int | None
    last: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Parting:
    """One place where the paths part; a and b are the two packets.

    ``decision``: numbers of the last event both have in common (None: they differ from the start), and
    ``instruction`` is what was executed there. ``a``, ``b``: what each did until ``joined``, the numbers of
    the first event that is the same again (None: never).
    """

    decision: tuple[int, int] | None
    instruction: Instruction | None
    a: Stretch
    b: Stretch
    joined: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two paths side by side: lengths in events, how many are in common, and the partings in order."""

    a_events: int
    b_events: int
    common: int
    partings: tuple[Parting, ...]

    @property
    def same(self) -> bool:
        """Whether both took the same path."""
        return not self.partings

    @property
    def decisive(self) -> Parting | None:
        """The parting after which the paths never join; where they always do, the first."""
        for parting in self.partings:
            if parting.joined is None:
                return parting
        return self.partings[0] if self.partings else None


def compare(trace: Trace, a: int, b: int, other: Trace | None = None) -> Comparison:
    """Compare packet ``a`` with packet ``b`` of the same trace, or of ``other``.

    Where the two traces are of different kernels, an event stands for the line that begins with it. KeyError
    where a trace has no such packet.
    """
    beside = other or trace
    trace.packet(a)
    beside.packet(b)
    numbers_a, insns_a = _path(trace, a)
    numbers_b, insns_b = _path(beside, b)
    if other is not None:
        same = trace.header.build_id is not None and trace.header.build_id == other.header.build_id
        known: dict[Hashable, int] = {}
        insns_a = _renumber(trace, insns_a, known, same)
        insns_b = _renumber(other, insns_b, known, same)
        if not same:
            numbers_a, insns_a = _changes(numbers_a, insns_a)
            numbers_b, insns_b = _changes(numbers_b, insns_b)
    common, partings = 0, []
    for start_a, end_a, start_b, end_b in differences(insns_a, insns_b):
        decision = instruction = None
        if start_a and start_b:
            decision = int(numbers_a[start_a - 1]), int(numbers_b[start_b - 1])
            instruction = trace.event(decision[0]).instruction
        joined = None
        if end_a < len(numbers_a) and end_b < len(numbers_b):
            joined = int(numbers_a[end_a]), int(numbers_b[end_b])
        partings.append(
            Parting(
                decision,
                instruction,
                _stretch(numbers_a[start_a:end_a]),
                _stretch(numbers_b[start_b:end_b]),
                joined,
            )
        )
        common += end_a - start_a
    return Comparison(len(numbers_a), len(numbers_b), len(numbers_a) - common, tuple(partings))


def differences(a: Array, b: Array) -> list[tuple[int, int, int, int]]:
    """Return where two sequences of numbers differ: (start, end in ``a``, start, end in ``b``), in order."""
    found: list[tuple[int, int, int, int]] = []
    grams_a, grams_b = _grams(a, b)
    places: dict[int, list[int]] = {}
    for position, gram in enumerate(grams_b.tolist()):
        places.setdefault(gram, []).append(position)
    i = j = 0
    while True:
        same = _common_prefix(a[i:], b[j:])
        i, j = i + same, j + same
        if i == len(a) and j == len(b):
            return found
        next_i, next_j = _join(grams_a, places, i, j, len(a), len(b))
        found.append((i, next_i, j, next_j))
        i, j = next_i, next_j


def _join(
    grams: Array, places: dict[int, list[int]], i: int, j: int, end_a: int, end_b: int
) -> tuple[int, int]:
    """Return the nearest positions from ``i`` and ``j`` on where the same follows; the ends if none."""
    best, cost = (end_a, end_b), end_a - i + end_b - j
    for skipped, gram in enumerate(grams[i : i + _FAR].tolist()):
        if skipped >= cost:
            break
        positions = places.get(gram, ())
        at = bisect_left(positions, j)
        if at < len(positions) and skipped + positions[at] - j < cost:
            best, cost = (i + skipped, positions[at]), skipped + positions[at] - j
    return best


def _grams(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a number for every run of ``_SAME`` values; equal numbers in both results mean equal runs.

    The last runs are shorter; a value of their own fills them up, so that paths can join at the end.
    """
    known: dict[bytes, int] = {}
    results = []
    for values in (a, b):
        padded = np.concatenate((values.astype("<i8"), np.full(_SAME - 1, -1, "<i8")))
        data = padded.tobytes()
        numbers = [known.setdefault(data[8 * at : 8 * (at + _SAME)], len(known)) for at in range(len(values))]
        results.append(np.array(numbers, "<i8"))
    return results[0], results[1]


def _common_prefix(a: Array, b: Array) -> int:
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if len(differ) else length


def _path(trace: Trace, packet: int) -> tuple[Array, Array]:
    numbers, insns = [np.empty(0, "<i8")], [np.empty(0, "<i8")]
    for more, heads in trace.chunks(0, packet=packet):
        numbers.append(more)
        insns.append(heads["insn"].astype("<i8"))
    return np.concatenate(numbers), np.concatenate(insns)


def _renumber(trace: Trace, insns: Array, known: dict[Hashable, int], same_kernel: bool) -> Array:
    """Return numbers that mean the same in two traces; ``known`` is filled by the first call."""
    table = [known.setdefault(_name(insn, same_kernel), len(known)) for insn in trace.plan]
    table.append(known.setdefault("outside the plan", len(known)))
    return np.array(table, "<i8")[np.minimum(insns, len(trace.plan))]


def _changes(numbers: Array, lines: Array) -> tuple[Array, Array]:
    """Return the events at which the line changes: another compilation has other instructions for it."""
    changed = np.ones(len(lines), "?")
    changed[1:] = lines[1:] != lines[:-1]
    return numbers[changed], lines[changed]


def _name(insn: Instruction, same_kernel: bool) -> Hashable:
    if same_kernel or insn.source is None:
        return insn.module, insn.symbol, insn.offset
    function: Any = insn.inlined_by[0].function if insn.inlined_by else insn.symbol
    return function, insn.source.file, insn.source.line


def _stretch(numbers: Array) -> Stretch:
    if not len(numbers):
        return Stretch(None, None, 0)
    return Stretch(int(numbers[0]), int(numbers[-1]), len(numbers))
