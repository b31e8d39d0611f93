"""Two packets side by side: the aligned rows of their paths, and both sides' variables at one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from ktcpdump_tui.trace.compare import compare
from ktcpdump_tui.tui.sources import Documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ktcpdump_tui.debuginfo.source import Missing
    from ktcpdump_tui.model import Event, Instruction
    from ktcpdump_tui.trace.compare import Comparison
    from ktcpdump_tui.trace.compare import Row as Aligned
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
        """Yield the variables in scope that are known there or at events just before, and what all have."""
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
    partings = [max(0, parting.row) for parting in found.partings]
    decisive = None if found.decisive is None else max(0, found.decisive.row)
    return SideBySide((a, b), _Rows(found.rows), found, partings, decisive)


class _Rows(Sequence[Row]):
    """A comparison's rows as the screen has them: a line's last event, which decides what comes next."""

    def __init__(self, rows: Sequence[Aligned]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        row = self._rows[index]
        return Row(row.a.last if row.a else None, row.b.last if row.b else None, row.same)
