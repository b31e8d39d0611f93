"""Recorded traces from Python: ``from ktcpdump_tui import Trace``.

Needs neither root nor BCC nor the kernel's debug symbols: a trace has all it takes. Examples, with traces of
a ping and of one UDP flow that was delivered once and dropped in three ways:

>>> from ktcpdump_tui import Trace
>>> trace = Trace.open("four-ways-6.12.ktrace")
>>> trace.header.release[:5]
'6.12.'

The packets, and what became of them:

>>> for packet in trace.packets():
...     print(packet.id, packet.fate, packet.drop_reason, packet.drop_line)
1 consumed None None
2 dropped NETFILTER_DROP net/netfilter/nf_tables_core.c:315
3 dropped IP_INHDR net/ipv4/ip_forward.c:179
4 dropped IP_CSUM net/ipv4/ip_input.c:552

A packet's events, one per instruction it executed, each with its place in the source:

>>> last = list(trace.events(packet=4))[-1]
>>> last.instruction.ksym, last.instruction.addr2line, last.dev
('ip_rcv_core+95', 'net/ipv4/ip_input.c:555', 'va')

Values at an event: C expressions as in ``--watch``, and the variables in scope:

>>> event = next(e for e in trace.events(packet=3) if e.instruction.symbol == "ip_forward")
>>> trace.evaluate("ip_hdr(skb)->ttl", event)
1
>>> trace.evaluate("skb->len", event) == event.len
True
>>> trace.variables(event)["skb"] == hex(event.skb)
True

Lines with their state and how often they ran, for all packets or for one:

>>> forward = [line for line in trace.lines() if line.file == "net/ipv4/ip_forward.c"]
>>> [(line.line, line.hits) for line in forward if line.hits > 2]
[(84, 3), (93, 3), (96, 3), (107, 3), (118, 3)]
>>> {str(line.state) for line in trace.lines(packet=4) if line.file == "net/ipv4/ip_forward.c"}
{'not executed'}

Where two packets' paths part:

>>> found = trace.compare(1, 3)
>>> found.decisive.instruction.addr2line
'net/ipv4/ip_forward.c:118'
>>> found.rows[found.decisive.row].same, found.rows[found.decisive.row + 1].same
(True, False)

Everything, or some events, as a file in the format of its suffix (.pcap, .pcapng, .jsonl, .txt, .info,
.parquet):

>>> import tempfile, pathlib
>>> with tempfile.TemporaryDirectory() as folder:
...     trace.export(pathlib.Path(folder, "dropped.pcapng"), trace.events(packet=4))
95
>>> trace.close()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ktcpdump_tui.trace import trace as store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from ktcpdump_tui.model import Event, Instruction, LineState, Packet, Summary, TraceHeader
    from ktcpdump_tui.trace.compare import Comparison
    from ktcpdump_tui.trace.values import TraceValues


@dataclass(frozen=True, slots=True)
class Line:
    """A source line of the probed functions: ``hits`` counts executions, ``state`` is one of four."""

    file: str
    line: int
    state: LineState
    hits: int


class Trace:
    """A trace opened for reading, recorded or still being written. To be used by one thread."""

    def __init__(self, reader: store.Trace) -> None:
        self._reader = reader
        self._known: TraceValues | None = None

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open the trace at ``path``; UserError where it cannot be read."""
        return cls(store.Trace.open(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; nothing can be read afterwards."""
        self._reader.close()

    def refresh(self) -> int:
        """Take notice of what was recorded since; return the number of the last event."""
        return self._reader.refresh()

    def __len__(self) -> int:
        """Return the number of the last event."""
        return len(self._reader)

    @property
    def path(self) -> Path:
        """The file."""
        return self._reader.path

    @property
    def header(self) -> TraceHeader:
        """The kernel, the command line, the clock ..."""
        return self._reader.header

    @property
    def summary(self) -> Summary | None:
        """The counts the capture ended with, None where it was cut off or goes on."""
        return self._reader.summary

    @property
    def plan(self) -> Sequence[Instruction]:
        """All instructions that were to be probed, with those that could not be."""
        return self._reader.plan

    def packets(self) -> Sequence[Packet]:
        """Return the packets in the order in which they were heard of."""
        return self._reader.packets()

    def packet(self, number: int) -> Packet:
        """Return a packet by its id; KeyError where there is none."""
        return self._reader.packet(number)

    def event(self, no: int) -> Event:
        """Return an event by its number; IndexError where there is none."""
        return self._reader.event(no)

    def events(self, packet: int | None = None) -> Iterator[Event]:
        """Yield all events in order, or those of one packet."""
        if packet is None:
            if len(self):
                yield from self._reader.events(self._reader.first_no, len(self))
            return
        for numbers, _ in self._reader.chunks(self._reader.first_no - 1, packet=packet):
            for no in numbers.tolist():
                yield self._reader.event(no)

    def lines(self, packet: int | None = None) -> list[Line]:
        """Return the source lines of the plan by file and line, as all packets or one of them left them."""
        hits = self._reader.line_hits(packet)
        states = sorted(self._reader.line_states(packet).items())
        return [Line(file, line, state, hits[file, line]) for (file, line), state in states]

    def evaluate(self, expression: str, event: Event) -> int | float | str | None:
        """Return a C expression's value at an event: a number, text, or None where it has none there.

        UsageError where it is no expression.
        """
        return self._values.evaluate(expression, event).value

    def variables(self, event: Event) -> dict[str, Any]:
        """Return the variables in scope by name, as ``evaluate`` gives values; of one name the innermost."""
        found: dict[str, Any] = {}
        for variable in self._values.variables(event):
            found.setdefault(variable.name, variable.value)
        return found

    def compare(self, a: int, b: int, other: Trace | None = None) -> Comparison:
        """Compare packet ``a`` with packet ``b`` (of ``other``, if given); KeyError where there is none."""
        from ktcpdump_tui.trace.compare import compare

        return compare(self._reader, a, b, other._reader if other else None)

    def export(
        self,
        path: Path | str,
        events: Iterable[Event | int] | None = None,
        progress: Callable[[int, int | None], None] | None = None,
        watches: Sequence[str] = (),
    ) -> int:
        """Write all events, or ``events`` (or their numbers), ascending, to ``path``; return how many.

        The suffix chooses the format; ``watches`` are expressions for .jsonl, .txt and .parquet. The file
        appears when it is complete. ``progress`` is told (events done, of how many or None), and cancels by
        raising. UserError where it cannot be written.
        """
        from ktcpdump_tui.export import Showing, export

        numbers = None if events is None else (one if isinstance(one, int) else one.no for one in events)
        return export(self._reader, path, numbers, progress, Showing.of(self._reader, watches))

    @property
    def _values(self) -> TraceValues:
        if self._known is None:
            from ktcpdump_tui.trace.values import TraceValues

            self._known = TraceValues(self._reader)
        return self._known
