"""Two packets side by side: the aligned rows of their paths, and both sides' variables at one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ktcpdump_tui.trace.compare import compare
from ktcpdump_tui.tui.event_list import packet_numbers
from ktcpdump_tui.tui.sources import Documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ktcpdump_tui.debuginfo.source import Missing
    from ktcpdump_tui.model import Event, Instruction
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.compare import Comparison
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.ports import SourceProvider
    from ktcpdump_tui.tui.source_view import Document
    from ktcpdump_tui.tui.value_fields import Values

#: Events before a parting at which its variables are looked for: the branch often ends their life.
_BEFORE = 12


@dataclass(frozen=True, slots=True)
class Row:
    """A line of source that packet a, b, or both executed: their events there, None where one did not."""

    a: int | None
    b: int | None
    same: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """A variable on both sides; None where it has no value there."""

    name: str
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True)
class SideBySide:
    """The rows of packets ``a`` and ``b``; ``partings`` are the rows after which they differ, in order.

    ``decisive`` is the one that made the difference (None: both took the same path).
    """

    packets: tuple[int, int]
    rows: Sequence[Row]
    found: Comparison
    partings: Sequence[int]
    decisive: int | None


@dataclass(frozen=True, slots=True)
class CompareOrder:
    """Compare two packets (``row`` None), or look at both sides of a row."""

    packets: tuple[int, int]
    row: Row | None = None


@dataclass(frozen=True, slots=True)
class Sides:
    """What is at both sides of a row: where, the file, the variables (those that differ first)."""

    instructions: tuple[Instruction | None, Instruction | None]
    documents: tuple[Document | Missing | None, Document | Missing | None]
    pairs: Sequence[Pair]


class CompareReader:
    """Made in the interface's thread, used in another: the trace is opened at the first order."""

    def __init__(
        self,
        open_trace: Callable[[], Trace],
        make_values: Callable[[Trace], Values | None],
        sources: SourceProvider,
    ) -> None:
        self._open_trace, self._make_values = open_trace, make_values
        self._documents = Documents(sources)
        self._trace: Trace | None = None
        self._values: Values | None = None

    def read(self, order: CompareOrder) -> SideBySide | Sides:
        """Compare, or read the sides of a row; KeyError where there is no such packet."""
        if self._trace is None:
            self._trace = self._open_trace()
            self._values = self._make_values(self._trace)
        self._trace.refresh()
        if order.row is None:
            return side_by_side(self._trace, *order.packets)
        return self._sides(self._trace, order.row)

    def _sides(self, trace: Trace, row: Row) -> Sides:
        events = [trace.event(no) if no is not None else None for no in (row.a, row.b)]
        documents = [
            self._documents.load(event.instruction.source.file)
            if event is not None and event.instruction.source is not None
            else None
            for event in events
        ]
        known = [dict(self._known(trace, event)) if event is not None else {} for event in events]
        names = dict.fromkeys((*known[0], *known[1]))
        pairs = [Pair(name, known[0].get(name), known[1].get(name)) for name in names]
        pairs.sort(key=lambda pair: pair.a == pair.b)
        return Sides(
            (
                events[0].instruction if events[0] else None,
                events[1].instruction if events[1] else None,
            ),
            (documents[0], documents[1]),
            pairs,
        )

    def _known(self, trace: Trace, event: Event) -> Iterator[tuple[str, str]]:
        """Yield the variables in scope that are known there or at the line's last events, and what all have."""
        yield "skb->len", "?" if event.len is None else str(event.len)
        if self._values is None:
            return
        seen: set[str] = set()
        some = [event]
        for numbers, heads in trace.chunks(event.no, True, packet=event.packet_id):
            same = numbers[heads["cfa"] == (event.cfa or 0)]
            some += [trace.event(int(number)) for number in same[-_BEFORE:][::-1]]
            break
        for one in some:
            for variable in self._values.variables(one):
                if variable.name in seen or variable.missing is not None or variable.text.startswith("<"):
                    continue
                seen.add(variable.name)
                yield variable.name, variable.text


def side_by_side(trace: Trace, a: int, b: int) -> SideBySide:
    """Compare two packets of a trace; KeyError where there is no such packet."""
    found = compare(trace, a, b)
    numbers = packet_numbers(trace, a), packet_numbers(trace, b)
    rows: list[Row] = []
    partings: list[int] = []
    decisive = None
    i = j = 0
    for parting in found.partings:
        end_a = _position(numbers[0], parting.a.first, i, parting.joined[0] if parting.joined else None)
        end_b = _position(numbers[1], parting.b.first, j, parting.joined[1] if parting.joined else None)
        _together(trace, rows, numbers[0][i:end_a].tolist(), numbers[1][j:end_b].tolist())
        partings.append(max(0, len(rows) - 1))
        if parting is found.decisive:
            decisive = partings[-1]
        i, j = end_a + parting.a.count, end_b + parting.b.count
        _apart(trace, rows, numbers[0][end_a:i].tolist(), numbers[1][end_b:j].tolist())
    _together(trace, rows, numbers[0][i:].tolist(), numbers[1][j:].tolist())
    return SideBySide((a, b), rows, found, partings, decisive)


def _position(numbers: Array, first: int | None, at: int, joined: int | None) -> int:
    """Return where a side's own events begin; where it has none, they join again at once."""
    if first is not None:
        return int(np.searchsorted(numbers, first))
    return int(np.searchsorted(numbers, joined)) if joined is not None else max(at, len(numbers))


def _together(trace: Trace, rows: list[Row], a: Sequence[int], b: Sequence[int]) -> None:
    """Add what both did: a row per run of one line."""
    before = None
    for one, other in zip(a, b, strict=True):
        line = _line(trace, one)
        if line != before:
            rows.append(Row(one, other, True))
        else:  # the last event of the line is the one that decides what comes next
            rows[-1] = Row(one, other, True)
        before = line


def _apart(trace: Trace, rows: list[Row], a: Sequence[int], b: Sequence[int]) -> None:
    """Add what each did by itself, beside each other."""
    sides = [_lines(trace, numbers) for numbers in (a, b)]
    for at in range(max(map(len, sides))):
        one, other = (side[at] if at < len(side) else None for side in sides)
        rows.append(Row(one, other, False))


def _lines(trace: Trace, numbers: Sequence[int]) -> list[int]:
    result: list[int] = []
    before = None
    for number in numbers:
        line = _line(trace, number)
        if line != before:
            result.append(number)
        else:
            result[-1] = number
        before = line
    return result


def _line(trace: Trace, no: int) -> object:
    instruction = trace.instruction(int(trace.heads(no, no)[0]["insn"]))
    if instruction.source is None:
        return instruction.index
    return instruction.symbol, instruction.source.file, instruction.source.line
