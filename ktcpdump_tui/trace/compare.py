"""Two packets' paths side by side, aligned by function and line, and where they part.

A path is cut into *steps*: a step is a run of a packet's events at one source line of one function (the
innermost inlined one). Steps are the same where function, file and line are; without a line, where the
instruction is. The two rows of steps are aligned (alignment.py). Where they differ, the paths have parted
in the step before, at the last instruction both executed there: a branch, a call through a pointer, a return.

Packets of two traces may be of different kernels, whose lines have moved. Then a line stands for its distance
from the first line of its function that was probed, and a step parts at its end.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

import numpy as np

from ktcpdump_tui.trace.alignment import differences

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ktcpdump_tui.model import Instruction, Packet
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace


@dataclass(frozen=True, slots=True)
class Step:
    """A packet at one line: its events ``first`` to ``last``, ``count`` of them (others' may be between).

    ``instruction`` is what ``first`` executes; ``function`` the innermost one there.
    """

    first: int
    last: int
    count: int
    instruction: Instruction

    @property
    def function(self) -> str:
        """The innermost function, inlined or real."""
        return function_of(self.instruction)

    @property
    def place(self) -> str:
        """``FILE:LINE``, or ``symbol+offset`` where no line is known."""
        return self.instruction.addr2line if self.instruction.source else self.instruction.ksym


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the side-by-side view: what each did, None where it has nothing to show beside the other."""

    a: Step | None
    b: Step | None
    same: bool


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one packet did between parting and joining: ``count`` events of its own, ``first`` to ``last``.

    Nothing (``first`` None, ``count`` 0) where only the other packet did something. ``start`` and ``end`` are
    the steps it consists of, the latter not included.
    """

    first: int | None
    last: int | None
    count: int
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Parting:
    """One place where the paths part; a and b are the two packets.

    ``decision``: numbers of the last event both have in common (None: they differ from the start), and
    ``instruction`` is what was executed there. ``a``, ``b``: what each did until ``joined``, the numbers of
    the first event that is the same again (None: never). ``row``: index of the row of the decision, -1 where
    there is none. ``lost``: events were lost right behind the decision, so that it may not be one.
    """

    decision: tuple[int, int] | None
    instruction: Instruction | None
    a: Stretch
    b: Stretch
    joined: tuple[int, int] | None
    row: int = -1
    lost: bool = False


class Path:
    """A packet's steps. ``numbers`` are its events', ``insns`` what they execute (index in the plan)."""

    def __init__(self, trace: Trace, packet: int, numbers: Array, insns: Array, keys: Array) -> None:
        self.trace = trace
        self.packet: Packet = trace.packet(packet)
        self.numbers = numbers
        self.insns = insns
        changed = np.ones(len(keys), "?")
        changed[1:] = keys[1:] != keys[:-1]
        self._starts: Array = np.append(np.flatnonzero(changed), len(keys))
        #: What each step is, as a number that means the same in both paths.
        self.keys: Array = keys[changed]

    def __len__(self) -> int:
        return len(self.keys)

    def step(self, index: int) -> Step:
        """Return a step."""
        start, end = int(self._starts[index]), int(self._starts[index + 1])
        return Step(
            int(self.numbers[start]),
            int(self.numbers[end - 1]),
            end - start,
            self.trace.instruction(int(self.insns[start])),
        )

    def step_of(self, no: int) -> int | None:
        """Return the index of the step that event ``no`` belongs to; None where it is not of this packet."""
        at = int(np.searchsorted(self.numbers, no))
        if at == len(self.numbers) or self.numbers[at] != no:
            return None
        return int(np.searchsorted(self._starts, at, side="right")) - 1

    def span(self, start: int, end: int) -> tuple[Array, Array]:
        """Return the numbers and instructions of the events of steps ``start`` to ``end - 1``."""
        low, high = int(self._starts[start]), int(self._starts[end])
        return self.numbers[low:high], self.insns[low:high]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two paths side by side: lengths in events, how many are in common, and the partings in order.

    ``decisive`` is the parting that made the difference: behind it one packet was dropped and the other was
    not; else the first one after which the paths never join; else the first one. ``rows`` are all steps of
    both, aligned: made when they are looked at, however long the paths are.
    """

    a_events: int
    b_events: int
    common: int
    partings: tuple[Parting, ...]
    decisive: Parting | None
    a: Path
    b: Path
    same_kernel: bool
    rows: Rows = field(repr=False)

    @property
    def same(self) -> bool:
        """Whether both took the same path."""
        return not self.partings


class Rows(Sequence[Row]):
    """The aligned rows of two paths."""

    def __init__(self, a: Path, b: Path, found: Sequence[tuple[int, int, int, int]]) -> None:
        self._a, self._b = a, b
        #: (first row, first step of a, of b, steps of a, of b, whether they are the same), in order.
        self._pieces: list[tuple[int, int, int, int, int, bool]] = []
        row = i = j = 0
        for start_a, end_a, start_b, end_b in [*found, (len(a), len(a), len(b), len(b))]:
            for steps_a, steps_b, same in (
                (start_a - i, start_b - j, True),
                (end_a - start_a, end_b - start_b, False),
            ):
                if steps_a or steps_b:
                    self._pieces.append((row, i, j, steps_a, steps_b, same))
                    row += max(steps_a, steps_b)
                    i, j = i + steps_a, j + steps_b
        self._length = row
        self._firsts = [piece[0] for piece in self._pieces]

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._length))]
        if index < 0:
            index += self._length
        if not 0 <= index < self._length:
            raise IndexError(index)
        first, i, j, steps_a, steps_b, same = self._pieces[bisect.bisect_right(self._firsts, index) - 1]
        at = index - first
        return Row(
            self._a.step(i + at) if at < steps_a else None,
            self._b.step(j + at) if at < steps_b else None,
            same,
        )

    def of_step(self, step: int, of_a: bool = True) -> int:
        """Return the row that shows a step of ``a`` (or of ``b``)."""
        for first, i, j, steps_a, steps_b, _ in self._pieces:
            start, steps = (i, steps_a) if of_a else (j, steps_b)
            if start <= step < start + steps:
                return first + step - start
        raise IndexError(step)


def compare(trace: Trace, a: int, b: int, other: Trace | None = None) -> Comparison:
    """Compare packet ``a`` with packet ``b`` of the same trace, or of ``other``.

    KeyError where a trace has no such packet.
    """
    beside = other or trace
    same_kernel = beside is trace or (
        trace.header.build_id is not None and trace.header.build_id == beside.header.build_id
    )
    known: dict[Hashable, int] = {}
    one, two = (_path(of, packet, known, same_kernel) for of, packet in ((trace, a), (beside, b)))
    found = differences(one.keys, two.keys)
    rows = Rows(one, two, found)
    partings = tuple(_parting(one, two, rows, place, same_kernel) for place in found)
    own = sum(parting.a.count for parting in partings)
    return Comparison(
        len(one.numbers), len(two.numbers), len(one.numbers) - own, partings,
        _decisive(one, two, partings), one, two, same_kernel, rows,
    )  # fmt: skip


def function_of(insn: Instruction) -> str:
    """Return the innermost function at an instruction, inlined or real."""
    return insn.inlined_by[0].function if insn.inlined_by else insn.symbol


def _path(trace: Trace, packet: int, known: dict[Hashable, int], same_kernel: bool) -> Path:
    trace.packet(packet)
    numbers, insns = [np.empty(0, "<i8")], [np.empty(0, "<i8")]
    for more, heads in trace.chunks(trace.first_no - 1, packet=packet):
        numbers.append(more)
        insns.append(heads["insn"].astype("<i8"))
    executed = np.concatenate(insns)
    starts: dict[tuple[str, str], int] = {}
    if not same_kernel:
        for insn in trace.plan:
            if insn.source is not None and insn.source.line:
                place = function_of(insn), insn.source.file
                starts[place] = min(starts.get(place, insn.source.line), insn.source.line)
    table = [known.setdefault(_key(insn, starts), len(known)) for insn in trace.plan]
    table.append(known.setdefault("outside the plan", len(known)))
    keys = np.array(table, "<i8")[np.minimum(executed, len(trace.plan))]
    return Path(trace, packet, np.concatenate(numbers), executed, keys)


def _key(insn: Instruction, starts: dict[tuple[str, str], int]) -> Hashable:
    """Return what tells an instruction's step from others."""
    if insn.source is None or not insn.source.line:
        return insn.module, insn.symbol, insn.offset
    function, file = function_of(insn), insn.source.file
    return function, file, insn.source.line - starts.get((function, file), 0)


def _parting(
    one: Path, two: Path, rows: Rows, place: tuple[int, int, int, int], same_kernel: bool
) -> Parting:
    start_a, end_a, start_b, end_b = place
    decision = instruction = None
    row = -1
    lost = False
    if start_a and start_b:
        decision = _last_common(one, two, start_a - 1, start_b - 1, same_kernel)
        instruction = one.trace.event(decision[0]).instruction
        row = rows.of_step(start_a - 1)
        lost = any(_lost_behind(path, no) for path, no in zip((one, two), decision, strict=True))
    joined = None
    if end_a < len(one) and end_b < len(two):
        joined = one.step(end_a).first, two.step(end_b).first
    return Parting(
        decision, instruction, _stretch(one, start_a, end_a), _stretch(two, start_b, end_b), joined, row, lost
    )


def _last_common(one: Path, two: Path, step_a: int, step_b: int, same_kernel: bool) -> tuple[int, int]:
    """Return the events of the last instruction that both executed in a step they have in common."""
    (numbers_a, insns_a), (numbers_b, insns_b) = one.span(step_a, step_a + 1), two.span(step_b, step_b + 1)
    same = min(len(insns_a), len(insns_b))
    if not same_kernel:
        return int(numbers_a[-1]), int(numbers_b[-1])
    table_a, table_b = one.trace.plan, two.trace.plan
    for at in range(same):
        left, right = int(insns_a[at]), int(insns_b[at])
        if left >= len(table_a) or right >= len(table_b):
            break
        if (table_a[left].symbol, table_a[left].offset) != (table_b[right].symbol, table_b[right].offset):
            same = at
            break
    at = max(same - 1, 0)
    return int(numbers_a[at]), int(numbers_b[at])


def _lost_behind(path: Path, no: int) -> bool:
    """Tell whether events were lost between event ``no`` and the packet's next one."""
    at = int(np.searchsorted(path.numbers, no)) + 1
    return at < len(path.numbers) and path.trace.event(int(path.numbers[at])).lost_before > 0


def _stretch(path: Path, start: int, end: int) -> Stretch:
    numbers, _ = path.span(start, end) if start < end else (np.empty(0, "<i8"), None)
    if not len(numbers):
        return Stretch(None, None, 0, start, end)
    return Stretch(int(numbers[0]), int(numbers[-1]), len(numbers), start, end)


def _decisive(one: Path, two: Path, partings: Sequence[Parting]) -> Parting | None:
    """Return the parting that made the difference (see ``Comparison``)."""
    if (one.packet.fate == "dropped") != (two.packet.fate == "dropped"):
        dropped, side = (one, "a") if one.packet.fate == "dropped" else (two, "b")
        step = _step_at_the_end(dropped)
        for parting in reversed(partings):
            stretch: Stretch = getattr(parting, side)
            if step is not None and stretch.start <= step < stretch.end:
                return parting
    for parting in partings:
        if parting.joined is None:
            return parting
    return partings[0] if partings else None


def _step_at_the_end(path: Path) -> int | None:
    """Return the step in which the packet was freed: what follows only unwinds the stack."""
    freed = path.packet.freed_at
    if freed is None or not len(path.numbers):
        return None
    low, high = 0, len(path.numbers)  # the last event that is not later
    while low < high:
        middle = (low + high) // 2
        if path.trace.event(int(path.numbers[middle])).ts <= freed:
            low = middle + 1
        else:
            high = middle
    return path.step_of(int(path.numbers[max(low - 1, 0)]))
