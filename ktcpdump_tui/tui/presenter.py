"""Makes the inspector's content for an event, in a thread of its own with a reader of its own."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.tui.fields import Field, Path, Tone, mark_changes
from ktcpdump_tui.tui.machine_fields import identity, registers
from ktcpdump_tui.tui.packet_fields import DUMP_BYTES, packet_fields
from ktcpdump_tui.tui.value_fields import skb_fields, variable_fields, watch_field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ktcpdump_tui.model import Event, Instruction, Packet
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.trace.values import TraceValues
    from ktcpdump_tui.tui.value_fields import Values


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be shown: an event's sections, each with what is open in it; bytes per line of a dump."""

    no: int
    opened: Mapping[str, frozenset[Path]]
    watches: tuple[str, ...] = ()
    per_line: int = DUMP_BYTES[0]


@dataclass(frozen=True, slots=True)
class Content:
    """The fields of each section asked for, with what changed since the packet's event before.

    ``taken``: whether the event's instruction ``insn`` is a conditional jump that is taken.
    """

    no: int
    previous: int | None
    sections: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    insn: int = -1
    taken: bool | None = None


class Presenter:
    """Made in the interface's thread, used in another: the trace is opened at the first order."""

    def __init__(
        self, open_trace: Callable[[], Trace], make_values: Callable[[Trace], Values | None]
    ) -> None:
        self._open_trace, self._make_values = open_trace, make_values
        self._trace: Trace | None = None
        self._values: Values | None = None
        self._names: TraceValues | None = None
        self._plan: Sequence[Instruction] | None = None
        self._children: defaultdict[int, list[int]] = defaultdict(list)
        self._seen = 0

    def present(self, order: Order) -> Content:
        """Return the content; IndexError where the event is gone, UserError where the trace is damaged."""
        from ktcpdump_tui.trace.jumps import Jumps
        from ktcpdump_tui.tui.stack_fields import where_before

        trace = self._ready(order.no)
        event = trace.event(order.no)
        number = previous_of_packet(trace, event)
        before = trace.event(number) if number is not None else None
        sections = {}
        for name, opened in order.opened.items():
            now = self._section(name, event, opened, order)
            was = self._section(name, before, opened, order) if before is not None else now
            sections[name] = mark_changes(now, was)
            if name == "stack":
                sections[name] = where_before(sections[name])
        taken = Jumps(trace).at(order.no)
        return Content(order.no, number, sections, event.instruction.index, taken)

    def _ready(self, no: int) -> Trace:
        if self._trace is None:
            self._trace = self._open_trace()
        if no > len(self._trace):
            self._trace.refresh()
        if self._trace.plan is not self._plan:
            # the first time, and where probes were added: their variables came with them
            from ktcpdump_tui.trace.values import TraceValues

            self._plan = self._trace.plan
            self._values = self._make_values(self._trace)
            self._names = TraceValues(self._trace)
        return self._trace

    def _section(self, name: str, event: Event, opened: frozenset[Path], order: Order) -> tuple[Field, ...]:
        if name == "packet":
            return packet_fields(event.packet, event.link, order.per_line)
        assert self._trace is not None
        assert self._names is not None
        if name == "registers":
            return registers(event, self._names.symbolise)
        if name == "stack":
            from ktcpdump_tui.trace.backtrace import backtrace
            from ktcpdump_tui.tui.stack_fields import stack_fields

            return stack_fields(backtrace(self._trace, event, self._names.symbolise))
        if name == "skb":
            return self._skb(event, opened)
        if name == "variables":
            return self._variables(event, opened)
        if name == "watch":
            return tuple(self._watch(text, event, opened) for text in order.watches) or (
                Field("no watch expressions", "w adds one, for instance iph->ttl", tone=Tone.ABSENT),
            )
        return self._identity(self._trace, event)

    def _skb(self, event: Event, opened: frozenset[Path]) -> tuple[Field, ...]:
        value = self._values.skb(event) if self._values is not None else None
        known = (
            Field("skb", f"{event.skb:#x}"),
            Field("len", "<not captured>" if event.len is None else str(event.len)),
            Field("dev", event.dev or "none"),
        )
        if value is None:
            absent = Field("other fields", "the trace holds no types to decode them", tone=Tone.ABSENT)
            return (*known, absent)
        return (known[0], *skb_fields(value, opened))

    def _variables(self, event: Event, opened: frozenset[Path]) -> tuple[Field, ...]:
        if self._values is None:
            return (
                Field(
                    "variables",
                    "the trace holds none: it was captured without debug symbols",
                    tone=Tone.ABSENT,
                ),
            )
        found = self._values.variables(event)
        if not found:
            return (Field("variables", f"none known in {event.instruction.symbol}", tone=Tone.ABSENT),)
        return variable_fields(found, opened)

    def _watch(self, text: str, event: Event, opened: frozenset[Path]) -> Field:
        if self._values is None:
            return Field(text, "<no types in this trace>", tone=Tone.ABSENT)
        try:
            return watch_field(text, self._values.evaluate(text, event), opened)
        except UserError as error:
            return Field(text, error.message, tone=Tone.BAD)

    def _identity(self, trace: Trace, event: Event) -> tuple[Field, ...]:
        try:
            packet = trace.packet(event.packet_id)
        except KeyError:
            packet = None
        return identity(event, packet, self._children_of(trace, event.packet_id), trace.header)

    def _children_of(self, trace: Trace, number: int) -> list[Packet]:
        """Return the packets made of this one, of those heard of so far."""
        for row, child, parent in trace.parents(self._seen):
            self._children[parent].append(child)
            self._seen = row
        made = []
        for child in self._children.get(number, ()):
            try:
                made.append(trace.packet(child))
            except KeyError:
                continue  # removed since (--max-size)
        return made


def previous_of_packet(trace: Trace, event: Event) -> int | None:
    """Return the number of the packet's event before, None where it is its first."""
    for numbers, _heads in trace.chunks(event.no, reverse=True, packet=event.packet_id):
        return int(numbers[-1])
    return None


def values_of(trace: Trace) -> Values | None:
    """Return what the trace itself knows of variables. Its decoders are imported in the thread that asks."""
    from ktcpdump_tui.trace.values import TraceValues

    return TraceValues.of(trace)
