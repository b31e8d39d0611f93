"""Where continue stops: breakpoints, watches and drops, numbered as in gdb. Nothing here knows the screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ktcpdump_tui.config import SavedBreakpoint
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.model import ProbeState
from ktcpdump_tui.trace.breakpoints import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ktcpdump_tui.model import Instruction

Kind = Literal["breakpoint", "watch", "catch"]

#: How a drop is written where a location is expected; as gdb's ``catch``.
DROP = "drop"


@dataclass(slots=True)
class StopPoint:
    """Something continue stops at.

    ``text`` is the location, the watched expression, or what is caught. ``insns`` are a breakpoint's
    instructions. ``ignore`` is how often it is passed over yet; ``hits`` how often it stopped somebody.
    """

    number: int
    kind: Kind
    text: str
    insns: frozenset[int] = frozenset()
    condition: str = ""
    enabled: bool = True
    ignore: int = 0
    hits: int = 0
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A StopPoint as the thread that searches takes it."""

    number: int
    kind: Kind
    text: str
    insns: frozenset[int]
    condition: str
    ignore: int


class Stops:
    """The table of what continue stops at. Numbers are not given twice, as in gdb."""

    def __init__(self) -> None:
        self._points: dict[int, StopPoint] = {}
        self._next = 1
        self._plan: Sequence[Instruction] = ()

    def __iter__(self) -> Iterator[StopPoint]:
        return iter(self._points.values())

    def __len__(self) -> int:
        return len(self._points)

    @property
    def insns(self) -> frozenset[int]:
        """The instructions of all enabled breakpoints."""
        return frozenset().union(*(point.insns for point in self if point.enabled))

    def resolve(self, plan: Sequence[Instruction]) -> None:
        """Find the breakpoints' instructions in another plan: functions were probed, or no longer."""
        self._plan = plan
        for point in self:
            if point.kind == "breakpoint":
                try:
                    _, point.insns = place(plan, point.text)
                except UsageError:
                    point.insns = frozenset()  # pending, as gdb calls it: it may be probed yet

    def rules(self) -> tuple[Rule, ...]:
        """Return the enabled ones."""
        return tuple(
            Rule(one.number, one.kind, one.text, one.insns, one.condition, one.ignore)
            for one in self
            if one.enabled
        )

    def add_break(self, location: str, condition: str = "", *, temporary: bool = False) -> StopPoint:
        """Set a breakpoint; UsageError where there is no such place or the condition is no C."""
        _check(condition)
        actual, insns = place(self._plan, location)
        return self._add("breakpoint", actual, insns, condition, temporary=temporary)

    def add_watch(self, expression: str, condition: str = "") -> StopPoint:
        """Stop where the value of an expression changes; UsageError where it is no C."""
        _check(expression)
        _check(condition)
        return self._add("watch", expression, frozenset(), condition)

    def add_catch(self, what: str) -> StopPoint:
        """Stop at each drop; UsageError where something else is to be caught."""
        if what != DROP:
            raise UsageError(f"'{what}' cannot be caught", ":catch drop stops where packets are dropped")
        return self._add("catch", what, frozenset(), "")

    def toggle(self, location: str) -> tuple[str, bool]:
        """Set the breakpoint at a location, or delete those there; return the place, and if it is set."""
        actual, insns = place(self._plan, location)
        there = [one.number for one in self if one.kind == "breakpoint" and one.insns == insns]
        for number in there:
            del self._points[number]
        if not there:
            self._add("breakpoint", actual, insns, "")
        return actual, not there

    def numbered(self, text: str) -> StopPoint:
        """Return the one with that number; UsageError where there is none."""
        if not text.isdecimal() or int(text) not in self._points:
            known = ", ".join(map(str, self._points)) or "none is set"
            raise UsageError(f"there is no breakpoint {text} ({known})", ":info break lists them")
        return self._points[int(text)]

    def delete(self, *points: StopPoint) -> None:
        """Delete these, or all."""
        for point in points or tuple(self):
            self._points.pop(point.number, None)

    def set_condition(self, point: StopPoint, condition: str) -> None:
        """Give one a condition, or none; UsageError where it is no C."""
        _check(condition)
        point.condition = condition

    def arrived(self, number: int) -> None:
        """Count a stop at ``number``; a temporary breakpoint has done its work."""
        if (point := self._points.get(number)) is not None:
            point.hits += 1
            if point.temporary:
                self.delete(point)

    def passed(self, number: int, times: int) -> None:
        """Count that one was passed over."""
        if (point := self._points.get(number)) is not None:
            point.ignore = max(0, point.ignore - times)
            point.hits += times

    def saved(self) -> tuple[SavedBreakpoint, ...]:
        """Return them as a profile keeps them; a watch or a catch has its word before it."""
        return tuple(
            SavedBreakpoint(
                one.text if one.kind == "breakpoint" else f"{one.kind} {one.text}",
                one.condition,
                one.enabled,
                one.ignore,
            )
            for one in self
            if not one.temporary
        )

    def restore(self, saved: Iterable[SavedBreakpoint]) -> None:
        """Set what a profile kept; a place this trace has not is kept as well, and never reached."""
        for one in saved:
            word, _, rest = one.location.partition(" ")
            kind: Kind = "watch" if word == "watch" and rest else "catch" if word == "catch" else "breakpoint"
            text = one.location if kind == "breakpoint" else rest
            insns: frozenset[int] = frozenset()
            if kind == "breakpoint":
                try:
                    text, insns = place(self._plan, text)
                except UsageError:
                    insns = frozenset()
            point = self._add(kind, text, insns, one.condition)
            point.enabled, point.ignore = one.enabled, one.ignore

    def _add(
        self, kind: Kind, text: str, insns: frozenset[int], condition: str, *, temporary: bool = False
    ) -> StopPoint:
        point = StopPoint(self._next, kind, text, insns, condition, temporary=temporary)
        self._points[self._next] = point
        self._next += 1
        return point


def _check(expression: str) -> None:
    if expression:
        from ktcpdump_tui.debuginfo.expressions import compile_expression

        compile_expression(expression)


def place(plan: Sequence[Instruction], location: str) -> tuple[str, frozenset[int]]:
    """Return a location as it is meant, and its instructions that have a probe.

    A line without any stands for the next one that has some, a symbol for the first instruction of the
    function that has one: the entry itself may be ftrace's or an endbr64. UsageError where there is none.
    """
    file, colon, line = location.rpartition(":")
    if colon and line.isdecimal():
        return _line(plan, file, int(line))
    symbol, plus, offset = location.partition("+")
    if location.startswith("0x"):
        found = frozenset(index for index in locate(plan, location) if watched(plan[index]))
    else:
        try:
            wanted = int(offset or "0", 0)
        except ValueError:
            raise UsageError(f"'{offset}' is not an offset", ":break ip_rcv_core+45") from None
        module, _, name = symbol.rpartition(":")
        here = [i for i in plan if i.symbol == name and watched(i) and (not module or i.module == module)]
        if not here:
            raise UsageError(
                f"no probe is in a function called {symbol}", "L lists the functions, ? the commands"
            )
        if not plus:
            wanted = min(i.offset for i in here)
        found = frozenset(i.index for i in here if i.offset == wanted)
    if not found:
        raise UsageError(f"no instruction with a probe begins at {location}", "d shows the instructions")
    return location, found


def _line(plan: Sequence[Instruction], file: str, line: int) -> tuple[str, frozenset[int]]:
    lines = sorted(
        {
            (i.source.line, i.source.file)
            for i in plan
            if i.source and same_file(i.source.file, file) and watched(i)
        }
    )
    found, name = next(((other, name) for other, name in lines if other >= line), (None, file))
    if found is None:
        raise UsageError(
            f"no probed instruction belongs to {file}:{line} or a later line",
            "ktcpdump-tui --list SPEC says what a SPEC probes",
        )
    return f"{name}:{found}", _beginnings(plan, name, found)


def _beginnings(plan: Sequence[Instruction], file: str, line: int) -> frozenset[int]:
    """Return the first instruction with a probe of each run of instructions that belong to the line.

    Stopping at all of them would stop many times in one execution of the line.
    """
    indices = set()
    inside: tuple[str | None, str] | None = None
    for instruction in plan:
        source = instruction.source
        belongs = source is not None and source.line == line and source.file == file
        function = (instruction.module, instruction.symbol)
        if not belongs:
            inside = None
        elif inside != function and watched(instruction):
            indices.add(instruction.index)
            inside = function
    return frozenset(indices)


def same_file(recorded: str, wanted: str) -> bool:
    """Return whether ``wanted`` names the file: the whole path, or its last parts."""
    return recorded == wanted or recorded.endswith("/" + wanted)


def watched(instruction: Instruction) -> bool:
    """Return whether an instruction has a probe, so that events can be at it."""
    return instruction.probe is ProbeState.ATTACHED
