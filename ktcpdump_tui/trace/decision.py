"""What two packets were told apart by: the values at the place where their paths part, side by side.

Three sources, the first that say anything most to the point: the expressions in the source line's condition
(where its text is at hand), what the machine compared (the registers and memory of the instruction that set
the flags for the branch), and the variables in scope that differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.conditions import expressions, statement
from ktcpdump_tui.debuginfo.operands import operands, writes_flags
from ktcpdump_tui.debuginfo.variables.types import Kind
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ktcpdump_tui.debuginfo.variables import Variable
    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.compare import Comparison, Parting, Path
    from ktcpdump_tui.trace.values import TraceValues

    #: Returns the lines of a source file by its name in the line table, None where there is no such file.
    Text = Callable[[str], Sequence[str] | None]

#: Events before the decision at which its variables are looked for: the branch itself often ends their life.
_BEFORE: Final = 16


@dataclass(frozen=True, slots=True)
class Pair:
    """A value on both sides, in words: ``a`` or ``b`` is None where it means nothing there."""

    name: str
    a: str | None
    b: str | None

    @property
    def same(self) -> bool:
        """Whether both are the same."""
        return self.a == self.b


@dataclass(frozen=True, slots=True)
class Decision:
    """What is known of a parting.

    ``file`` and ``line`` (0: unknown) are where it is; ``statement`` is the source there, empty without
    text. ``condition``: its expressions; ``machine``: what was compared, and ``compare`` the instruction that
    did; ``variables``: those in scope that differ, pointers left out.
    """

    file: str | None
    line: int
    statement: str
    condition: tuple[Pair, ...]
    compare: str
    machine: tuple[Pair, ...]
    variables: tuple[Pair, ...]


def decision_at(
    found: Comparison, parting: Parting, values: tuple[TraceValues, TraceValues], text: Text | None = None
) -> Decision | None:
    """Return what decided at a parting of ``found``; None where the paths differ from the start.

    ``values`` are of the two packets' traces, the same twice where it is one. ``text`` gives source lines.
    """
    if parting.decision is None or parting.instruction is None:
        return None
    source = parting.instruction.source
    said = ""
    if source is not None and text is not None and (lines := text(source.file)) is not None:
        said = statement(lines, source.line)
    before = tuple(_before(path, no) for path, no in zip((found.a, found.b), parting.decision, strict=True))
    condition = [pair for one in expressions(said) if (pair := _evaluated(one, before, values)) is not None]
    # What is followed to something that is shown itself says nothing more: skb beside ip_hdr(skb)->ttl.
    condition = [pair for pair in condition if not _part_of_another(pair.name, condition)]
    compare, machine = _machine(before)
    return Decision(
        source.file if source else None,
        source.line if source else 0,
        said,
        tuple(condition),
        compare,
        machine,
        tuple(_differing(before, values)),
    )


def _part_of_another(name: str, pairs: Sequence[Pair]) -> bool:
    word = re.compile(rf"\b{re.escape(name)}\b")
    return any(word.search(pair.name) for pair in pairs if pair.name != name)


def _before(path: Path, no: int) -> list[Event]:
    """Return the events of the packet's step up to event ``no``, the last one first."""
    step = path.step_of(no)
    if step is None:
        return []
    numbers, _ = path.span(step, step + 1)
    some = [int(number) for number in numbers if number <= no][-_BEFORE:]
    return [path.trace.event(number) for number in reversed(some)]


def _evaluated(
    expression: str, before: tuple[list[Event], ...], values: tuple[TraceValues, TraceValues]
) -> Pair | None:
    """Return an expression's values; None where it has none on either side."""
    texts = [_value(expression, events, of) for events, of in zip(before, values, strict=True)]
    return None if texts == [None, None] else Pair(expression, *texts)


def _value(expression: str, events: list[Event], values: TraceValues) -> str | None:
    """Return the value at the last of the events that has one."""
    for event in events:
        try:
            watched = values.evaluate(expression, event)
        except UserError:
            return None
        if watched.variable is not None and watched.variable.missing is None:
            return watched.text
    return None


def _machine(before: tuple[list[Event], ...]) -> tuple[str, tuple[Pair, ...]]:
    """Return the instruction the branch depends on, and its operands on both sides."""
    compares = [_flags(events) for events in before]
    a, b = compares
    if a is None or b is None or a.instruction.text != b.instruction.text:
        return "", ()
    pairs = [
        Pair(one.name, _hex(one.value), _hex(other.value))
        for one, other in zip(operands(a), operands(b), strict=True)
    ]
    return a.instruction.text, tuple(pair for pair in pairs if (pair.a, pair.b) != (None, None))


def _flags(events: list[Event]) -> Event | None:
    """Return the event that set the flags for the branch that comes last (``events`` run backwards)."""
    if not events or events[0].instruction.flow is not Flow.BRANCH:
        return None
    return next((event for event in events[1:] if writes_flags(event.instruction.code)), None)


def _differing(before: tuple[list[Event], ...], values: tuple[TraceValues, TraceValues]) -> Iterator[Pair]:
    """Yield the variables in scope at the decision that are known and different, but no addresses."""
    sides = []
    for events, of in zip(before, values, strict=True):
        side: dict[str, str] = {}
        for event in events[:1]:
            for variable in of.variables(event):
                if variable.missing is None and _is_plain(variable):
                    side.setdefault(variable.name, variable.text)
        sides.append(side)
    for name, text in sides[0].items():
        if name in sides[1] and sides[1][name] != text:
            yield Pair(name, text, sides[1][name])


def _is_plain(variable: Variable) -> bool:
    """Tell whether a variable is a number, and not an address or a structure."""
    kind = variable.raw.scalar
    return not (kind.is_structure or kind.kind in (Kind.POINTER, Kind.ARRAY))


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:#x}"
