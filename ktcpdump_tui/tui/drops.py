"""Where and why a packet was dropped: the event, the branch that decided, and the values it decided by.

The branch is looked for backwards from the drop, in its frame and then in the ones that called it. Branches
on the way out (below the label that was jumped to) decided nothing, and neither did those whose other way is
a ``goto`` to a label behind which the packet is dropped as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.conditions import expressions, statement
from ktcpdump_tui.debuginfo.source import Missing
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import Flow, ProbeState
from ktcpdump_tui.trace.straight import StraightCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ktcpdump_tui.model import Event, Instruction, Packet
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.ports import SourceProvider
    from ktcpdump_tui.tui.value_fields import Values

#: Events of the packet before its drop among which the decision is looked for.
_FAR: Final = 5000
#: Events before the decision at which its variables are looked for: the branch often ends their life.
_BEFORE: Final = 12
#: Lines that a condition may stretch over.
_LINES: Final = 8
#: Values shown.
_MOST: Final = 6

_LABEL: Final = re.compile(r"[A-Za-z_]\w*:\s*(?:/\*.*)?$")
_FREES: Final = re.compile(r"\b(?:kfree_skb\w*|\w*skb\w*_drop|tcp_drop\w*|kfree_skb_reason)\s*\(")
#: A statement that decides something; a macro that counts has branches as well.
_CONDITION: Final = re.compile(r"^(?:\} ?else )?(?:if|while|for|switch)\b|\?|&&|\|\|")


@dataclass(frozen=True, slots=True)
class DropOrder:
    """Tell of the drop of ``packet``."""

    packet: int


@dataclass(frozen=True, slots=True)
class Drop:
    """A packet's end. ``no`` is the event that dropped it, or its last one before (``exact`` tells which).

    ``advice`` is what would record more of it.
    ``decided`` is the event of the deciding branch (None: not found), ``line`` where it is, ``statement`` the
    source there, ``values`` what it compared: (expression, value).
    """

    packet: Packet
    no: int
    exact: bool
    decided: int | None = None
    line: str = ""
    statement: str = ""
    values: tuple[tuple[str, str], ...] = ()
    advice: str = ""


class DropReader:
    """Made in the interface's thread, used in another: the trace is opened at the first order."""

    def __init__(
        self,
        open_trace: Callable[[], Trace],
        make_values: Callable[[Trace], Values | None],
        sources: SourceProvider,
    ) -> None:
        self._open_trace, self._make_values, self._sources = open_trace, make_values, sources
        self._trace: Trace | None = None
        self._values: Values | None = None
        self._code: StraightCode | None = None

    def read(self, order: DropOrder) -> Drop | None:
        """Return how a packet was dropped; None where it was not, or has no event."""
        if self._trace is None:
            self._trace = self._open_trace()
            self._values = self._make_values(self._trace)
            self._code = StraightCode(self._trace)
        trace = self._trace
        trace.refresh()
        packet = trace.packet(order.packet)
        if packet.fate != "dropped" or trace.packet_span(order.packet) is None:
            return None
        no, exact = self._where(trace, packet)
        function = (packet.drop_symbol or "").partition("+")[0]
        probed = sum(each.symbol == function and each.probe is ProbeState.ATTACHED for each in trace.plan)
        advice = f"-i {function}:* would show its lines" if function and not exact and probed <= 1 else ""
        nothing = Drop(packet, no, exact, advice=advice)
        if not exact and not any(insn.symbol == function for insn in trace.plan):
            return nothing  # it was decided where nothing was traced
        decision = self._decision(trace, no)
        if decision is None:
            return nothing
        event, said = decision
        if not exact and event.instruction.symbol != function:
            return nothing
        line = _outer(event.instruction)
        where = f"{line[0]}:{line[1]}" if line else event.instruction.ksym
        values = tuple(self._compared(event, said))
        return replace(nothing, decided=event.no, line=where, statement=said, values=values)

    def _where(self, trace: Trace, packet: Packet) -> tuple[int, bool]:
        """Return the event that dropped the packet: the call that returns to the drop's place, or its line.

        Where that has no event: the last one before the drop in the function that dropped it, else the
        packet's last event before it.
        """
        assert self._code is not None
        function = (packet.drop_symbol or "").partition("+")[0]
        last = within = 0
        span = trace.packet_span(packet.id)
        assert span is not None
        for numbers, heads in trace.chunks(span[1] + 1, True, packet=packet.id):
            for at in range(len(numbers) - 1, -1, -1):
                insn = trace.instruction(int(heads["insn"][at]))
                if packet.freed_at is None or int(heads["ts"][at]) <= packet.freed_at:
                    last = last or int(numbers[at])
                    if insn.symbol != function:
                        continue
                    within = within or int(numbers[at])
                    run = self._code.run(insn)
                    if any(each.address + len(each.code) == packet.drop_location for each in run):
                        return int(numbers[at]), True
            if within:
                break
        return within or last or span[0], False

    def _decision(self, trace: Trace, no: int) -> tuple[Event, str] | None:
        """Return the event of the branch that decided, and its statement."""
        drop = trace.event(no)
        before: Event | None = drop
        cfa = drop.cfa or 0
        way_out = self._way_out(drop)
        for event in self._before(trace, drop):
            if event.cfa is None or event.cfa < cfa:
                continue
            if event.cfa > cfa:  # the frame that called
                cfa, way_out = event.cfa, None
            line = _outer(event.instruction)
            if self._branches(event) and not (
                way_out and line and way_out[0] == line[0] and way_out[1] <= line[1] <= way_out[2]
            ):
                said = self._statement(event)
                decides = not said or _CONDITION.search(said) is not None
                if decides and not self._leads_to_drop(event, before):
                    return event, said
            if line and (before is None or _outer(before.instruction) != line):
                before = event
        return None

    def _branches(self, event: Event) -> bool:
        """Tell whether an event is a branch, or what runs behind it ends with one of the same line."""
        assert self._code is not None
        line = _outer(event.instruction)
        return any(
            each.flow is Flow.BRANCH and _outer(each) == line for each in self._code.run(event.instruction)
        )

    def _before(self, trace: Trace, event: Event) -> Iterator[Event]:
        seen = 0
        for numbers, _ in trace.chunks(event.no, True, packet=event.packet_id):
            for number in reversed(numbers.tolist()):
                yield trace.event(number)
                seen += 1
                if seen == _FAR:
                    return

    def _lines(self, file: str) -> Sequence[str]:
        found = self._sources.find(file) if self._sources is not None else Missing("", "")
        return () if isinstance(found, Missing) else found.lines

    def _way_out(self, event: Event) -> tuple[str, int, int] | None:
        """Return (file, first line, last line) of what follows the labels before a drop."""
        line = _outer(event.instruction)
        if line is None:
            return None
        first = line[1]
        lines = self._lines(line[0])
        for number in range(min(line[1], len(lines)) - 1, 0, -1):
            text = lines[number - 1]
            if re.match(r"\s*return\b|[{}]", text):
                break
            if _LABEL.match(text):
                first = number
        return (line[0], first, line[1])

    def _leads_to_drop(self, event: Event, after: Event | None) -> bool:
        """Tell whether the way a branch did not go leads to a drop too: ``if (…) goto drop`` passed by."""
        line = _outer(event.instruction)
        if line is None:
            return False
        lines = self._lines(line[0])
        target = _goto(lines, line[1])
        if target is None:
            return False
        label = next(
            (n for n, text in enumerate(lines[line[1] :], line[1] + 1) if re.match(rf"{target}:", text)), None
        )
        if label is None:
            return False
        went = _outer(after.instruction) if after is not None else None
        if went is not None and went[0] == line[0] and went[1] >= label:
            return False  # it is the goto that was taken
        for text in lines[label : label + 40]:
            if _FREES.search(text):
                return True
            if re.match(r"\s*return\b|\}", text):
                return False
        return False

    def _statement(self, event: Event) -> str:
        """Return the statement of the function itself: a branch in what was inlined decides for it."""
        line = _outer(event.instruction)
        return statement(self._lines(line[0]), line[1]) if line is not None else ""

    def _compared(self, event: Event, said: str) -> list[tuple[str, str]]:
        """Return the expressions in the condition with their values there, addresses only where all are."""
        if self._values is None or self._trace is None:
            return []
        some = [event]
        for earlier in self._before(self._trace, event):
            if earlier.cfa == event.cfa:
                some.append(earlier)
            if len(some) > _BEFORE:
                break
        found: list[tuple[str, str]] = []
        for name in expressions(said):
            for at in some:
                try:
                    value = self._values.evaluate(name, at)
                except UserError:
                    break
                if value.why is None and not value.text.startswith("<"):
                    found.append((name, value.text))
                    break
        return ([pair for pair in found if not pair[1].startswith("0xffff")] or found)[:_MOST]


def _outer(insn: Instruction) -> tuple[str, int] | None:
    """Return the line of an instruction in the function itself, not in what was inlined."""
    chain = insn.inlined_by
    if chain and chain[-1].file and chain[-1].line:
        return chain[-1].file, chain[-1].line
    source = insn.source
    return (source.file, source.line) if source else None


def _goto(lines: Sequence[str], line: int) -> str | None:
    """Return the label that the ``if`` on a line goes to, None where it does something else."""
    said = statement(lines, line)
    if not re.match(r"(?:\} ?else )?if\b", said):
        return None
    behind = " ".join(" ".join(lines[line - 1 : line + _LINES]).split())
    at = behind.find(said[-20:])
    rest = behind[at + len(said[-20:]) :] if at >= 0 else ""
    if match := re.search(r"\)\s*goto (\w+);\s*$", said):
        return match[1]
    match = re.match(r"\s*\{?\s*goto (\w+);", rest)
    return match[1] if match else None
