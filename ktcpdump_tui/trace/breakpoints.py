"""Breakpoints and watches over a trace: where continue and reverse-continue stop, and who wrote a value last.

A location names instructions of the plan, as gdb's do:

``FILE.c:LINE``      the instruction at which the line begins, in each function and inlined copy that has it;
                     a line without instructions stands for the next one that has some, in the same file
``symbol``           the function's entry
``symbol+OFFSET``    an instruction; OFFSET is decimal or 0x...
``0xADDRESS``        an instruction
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from ktcpdump_tui import arch
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.trace.shape import PlanShape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ktcpdump_tui.model import Event, Instruction
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace

_LINE: Final = re.compile(r"(?P<file>[^\s:]+\.[\w]+):(?P<line>\d+)")
_SYMBOL: Final = re.compile(
    r"(?:(?P<module>\w+):)?(?P<symbol>[A-Za-z_][\w.]*)(?:\+(?P<offset>0x[0-9a-fA-F]+|\d+))?"
)


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """Stops at the instructions ``insns`` where ``condition`` holds; ``location`` as it was typed."""

    location: str
    insns: frozenset[int]
    condition: Callable[[Event], object] | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """Stops at the first event that shows another value of ``key`` than the packet's event before it did.

    ``key`` returns None where there is no value (a local out of scope): such events are passed over.
    ``depends`` says when the value can change at all, and how much has to be read: ``event`` (anything),
    ``state`` (only with the packet's stored state: fields of struct sk_buff, packet bytes), or the name of a
    register, which then is the value, so ``key`` is not called.
    """

    name: str
    key: Callable[[Event], Any]
    depends: Literal["event", "state"] | str = "event"


@dataclass(frozen=True, slots=True)
class Hit:
    """Where and why: event ``no``.

    For a watch, ``before`` is the packet's event before, whose instruction (or something untraced after it)
    wrote the value.
    """

    no: int
    reason: Breakpoint | Watch
    before: int | None = None


def locate(plan: Sequence[Instruction], location: str) -> frozenset[int]:
    """Return the instructions ``location`` means; UsageError where it means none."""
    text = location.strip()
    if match := _LINE.fullmatch(text):
        found = _at_line(plan, match["file"], int(match["line"]))
    elif re.fullmatch(r"0x[0-9a-fA-F]+", text):
        found = [insn.index for insn in plan if insn.address == int(text, 16)]
    elif match := _SYMBOL.fullmatch(text):
        found = _at_symbol(plan, match["module"], match["symbol"], match["offset"])
    else:
        raise UsageError(
            f"{location!r} is no location", "use FILE.c:LINE, symbol, symbol+OFFSET or 0xADDRESS"
        )
    if not found:
        raise UsageError(f"the trace has no instruction at {location}", "probe it with -i to see it executed")
    return frozenset(found)


def breakpoint_at(
    plan: Sequence[Instruction], location: str, condition: Callable[[Event], object] | None = None
) -> Breakpoint:
    """Return a breakpoint at ``location``; UsageError where the plan has no such place."""
    return Breakpoint(location, locate(plan, location), condition)


def continue_to(
    trace: Trace,
    no: int,
    breakpoints: Iterable[Breakpoint] = (),
    watches: Iterable[Watch] = (),
    *,
    reverse: bool = False,
    packet: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Hit | None:
    """Go on from event ``no`` to the next breakpoint or changed watch (``reverse``: the last one before).

    Only events of ``packet`` count, where it is given. None where there is none, or ``cancelled`` (asked once
    per block) said so.
    """
    search = _Search(trace, no, list(breakpoints), list(watches), reverse, packet)
    for hit in search.hits(cancelled):
        return hit
    return None


def last_change(
    trace: Trace, no: int, watch: Watch, cancelled: Callable[[], bool] = lambda: False
) -> Hit | None:
    """Return where the value that event ``no`` shows was seen first: who wrote it last."""
    packet = int(trace.heads(no, no)["packet"][0])
    return continue_to(trace, no + 1, (), [watch], reverse=True, packet=packet, cancelled=cancelled)


def next_change(
    trace: Trace, no: int, watch: Watch, cancelled: Callable[[], bool] = lambda: False
) -> Hit | None:
    """Return where the packet of event ``no`` shows another value than there: who writes it next."""
    packet = int(trace.heads(no, no)["packet"][0])
    return continue_to(trace, no, (), [watch], packet=packet, cancelled=cancelled)


def _at_line(plan: Sequence[Instruction], file: str, line: int) -> list[int]:
    def of_file(name: str) -> bool:
        return name == file or name.endswith("/" + file)

    lines = sorted({i.source.line for i in plan if i.source and i.source.line and of_file(i.source.file)})
    actual = next((number for number in lines if number >= line), None)
    shape = PlanShape(plan)
    # As gdb: one place per function or inlined copy, the lowest.
    places: dict[int, Instruction] = {}
    for insn in plan:
        if not (insn.source and insn.source.line == actual and of_file(insn.source.file)):
            continue
        path = int(shape.inner_path[insn.index])
        known = places.get(path)
        better = known is None or (shape.begins[insn.index], -insn.address) > (
            shape.begins[known.index],
            -known.address,
        )
        if better:
            places[path] = insn
    return [insn.index for insn in places.values()]


def _at_symbol(plan: Sequence[Instruction], module: str | None, symbol: str, offset: str | None) -> list[int]:
    named = [i for i in plan if i.symbol == symbol and (module is None or i.module == module)]
    if offset is not None:
        return [insn.index for insn in named if insn.offset == int(offset, 0)]
    first: dict[int, Instruction] = {}
    for insn in named:  # functions of one name are told apart by where they begin
        start = insn.address - insn.offset
        if start not in first or insn.offset < first[start].offset:
            first[start] = insn
    shape = PlanShape(plan)
    entries = [insn.index for insn in named if shape.entry[insn.index]]
    attached = [index for index in entries if plan[index].probe == "attached"]
    return attached or entries or [insn.index for insn in first.values()]


@dataclass(slots=True)
class _Search:
    trace: Trace
    no: int
    breakpoints: list[Breakpoint]
    watches: list[Watch]
    reverse: bool
    packet: int | None
    # Per watch and packet: the event seen last, its value, and the state it was in.
    _seen: list[dict[int, tuple[int, Any, int]]] = field(default_factory=list)

    def hits(self, cancelled: Callable[[], bool]) -> Iterator[Hit]:
        """Yield what is found, nearest first."""
        insns = sorted(set().union(*(b.insns for b in self.breakpoints)))
        self._seen = [{} for _ in self.watches]
        if self.watches and not self.reverse and self.trace.first_no <= self.no <= len(self.trace):
            self._start()
        chunks = self.trace.chunks(
            self.no, self.reverse, packet=self.packet, insns=None if self.watches else insns
        )
        for numbers, heads in chunks:
            if cancelled():
                return
            found = [*self._broken(numbers, heads), *self._changed(numbers, heads)]
            if found and self.reverse:
                found += self._unsettled(max(hit.no for hit in found))
            yield from sorted(found, key=lambda hit: -hit.no if self.reverse else hit.no)

    def _unsettled(self, no: int) -> Iterator[Hit]:
        """Backwards: look at packets seen after ``no`` whose event before is in a block not read yet."""
        for watch, seen in zip(self.watches, self._seen, strict=True):
            for packet, (last, _, _) in list(seen.items()):
                if last > no:
                    for numbers, heads in self.trace.chunks(last, reverse=True, packet=packet):
                        hit = next(self._changes(watch, seen, numbers, heads), None)
                        if hit is not None:
                            yield hit
                        if hit is not None or seen[packet][0] <= no:
                            break

    def _start(self) -> None:
        """Take the values the packet of the first event has there."""
        heads = self.trace.heads(self.no, self.no)
        if self.packet is None or int(heads["packet"][0]) == self.packet:
            list(self._changed(np.array([self.no]), heads))

    def _broken(self, numbers: Array, heads: Array) -> Iterator[Hit]:
        order = slice(None, None, -1) if self.reverse else slice(None)
        for breakpoint_ in self.breakpoints:
            at = np.flatnonzero(np.isin(heads["insn"], list(breakpoint_.insns)))
            for number in numbers[at][order].tolist():
                if breakpoint_.condition is None or breakpoint_.condition(self.trace.event(number)):
                    yield Hit(number, breakpoint_)
                    break

    def _changed(self, numbers: Array, heads: Array) -> Iterator[Hit]:
        for watch, seen in zip(self.watches, self._seen, strict=True):
            for hit in self._changes(watch, seen, numbers, heads):
                yield hit
                break

    def _changes(
        self, watch: Watch, seen: dict[int, tuple[int, Any, int]], numbers: Array, heads: Array
    ) -> Iterator[Hit]:
        values = self._registers(watch, numbers)
        order = range(len(numbers) - 1, -1, -1) if self.reverse else range(len(numbers))
        packets, states = heads["packet"].tolist(), heads["state"].tolist()
        for at in order:
            no, packet, state = int(numbers[at]), packets[at], states[at]
            last = seen.get(packet)
            if watch.depends == "state" and last is not None and last[2] == state:
                # Nothing changed: only the place moves on.
                seen[packet] = (no, last[1], state)
                continue
            value = values[at] if values is not None else watch.key(self.trace.event(no))
            if value is None:
                continue
            seen[packet] = (no, value, state)
            if last is not None and last[1] != value:
                yield Hit(last[0], watch, no) if self.reverse else Hit(no, watch, last[0])

    def _registers(self, watch: Watch, numbers: Array) -> list[int] | None:
        if watch.depends not in arch.REGISTERS:
            return None
        first, last = int(numbers[0]), int(numbers[-1])
        rows = self.trace.rows(first, last)
        column: list[int] = rows["regs"][numbers - first, arch.REGISTERS.index(watch.depends)].tolist()
        return column
