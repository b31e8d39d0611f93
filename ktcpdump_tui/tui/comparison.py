"""Two packets side by side: the engine's rows, and the source and values at one of them, in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.source import Missing
from ktcpdump_tui.trace.compare import compare
from ktcpdump_tui.trace.decision import Pair, decision_at
from ktcpdump_tui.trace.values import TraceValues
from ktcpdump_tui.tui.sources import Documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ktcpdump_tui.model import Event, Instruction
    from ktcpdump_tui.trace.compare import Comparison, Row
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.ports import SourceProvider
    from ktcpdump_tui.tui.source_view import Document
    from ktcpdump_tui.tui.value_fields import Values

#: Events of the frame before the one looked at in which variables are looked for as well.
_BEFORE: Final = 12


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Packets ``a`` and ``b``; ``partings`` are the rows after which they differ, in order.

    ``decisive`` is the row of the one that made the difference (None: none, or they differ from the start).
    """

    packets: tuple[int, int]
    found: Comparison
    partings: Sequence[int]
    decisive: int | None

    @property
    def rows(self) -> Sequence[Row]:
        """The aligned rows."""
        return self.found.rows


@dataclass(frozen=True, slots=True)
class CompareOrder:
    """Compare two packets (``row`` None), or look at both sides of a row."""

    packets: tuple[int, int]
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Sides:
    """What is at both sides of a row.

    ``decision`` is the statement there and what was compared, where the packets part; ``pairs`` are values:
    first what was compared, then the variables that differ, then the others.
    """

    instructions: tuple[Instruction | None, Instruction | None]
    documents: tuple[Document | Missing | None, Document | Missing | None]
    decision: str
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
        self._found: Comparison | None = None

    def read(self, order: CompareOrder) -> SideBySide | Sides:
        """Compare, or read the sides of a row; KeyError where there is no such packet."""
        if self._trace is None:
            self._trace = self._open_trace()
            self._values = self._make_values(self._trace)
        if order.row is not None and self._found is not None:
            return self._sides(self._trace, self._found, order.row)
        found = self._found = compare(self._trace, *order.packets)
        decisive = found.decisive.row if found.decisive is not None and found.decisive.row >= 0 else None
        return SideBySide(order.packets, found, [one.row for one in found.partings if one.row >= 0], decisive)

    def _sides(self, trace: Trace, found: Comparison, at: int) -> Sides:
        row = found.rows[at]
        events = [trace.event(step.last) if step is not None else None for step in (row.a, row.b)]
        shown = [event.instruction if event is not None else None for event in events]
        documents = [
            self._documents.load(one.source.file) if one is not None and one.source is not None else None
            for one in shown
        ]
        said, first = self._decision(found, at)
        known = [dict(self._known(trace, event)) if event is not None else {} for event in events]
        others = [
            Pair(name, known[0].get(name), known[1].get(name))
            for name in dict.fromkeys((*known[0], *known[1]))
            if name not in {pair.name for pair in first}
        ]
        others.sort(key=_rank)
        return Sides(
            (shown[0], shown[1]), (documents[0], documents[1]), said, [*sorted(first, key=_rank), *others]
        )

    def _decision(self, found: Comparison, at: int) -> tuple[str, list[Pair]]:
        """Return the statement at which the packets part in this row, and what it compared."""
        parting = next((one for one in found.partings if one.row == at), None)
        if parting is None or not isinstance(self._values, TraceValues):
            return "", []
        decided = decision_at(found, parting, (self._values, self._values), self._text)
        if decided is None:
            return "", []
        pairs = list(
            {pair.name: pair for pair in (*decided.condition, *decided.machine, *decided.variables)}.values()
        )
        return decided.statement or decided.compare, pairs

    def _text(self, file: str) -> Sequence[str] | None:
        found = self._documents.load(file)
        return None if isinstance(found, Missing) else found.raw

    def _known(self, trace: Trace, event: Event) -> Iterator[tuple[str, str]]:
        """Yield the variables in scope that are known there or just before, and what all packets have."""
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


def _rank(pair: Pair) -> tuple[bool, bool]:
    """Order values by how much they say: what differs first, addresses last."""
    address = any((text or "").startswith("0xffff") for text in (pair.a, pair.b))
    return (pair.same or address, address)
