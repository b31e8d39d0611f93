"""``--compare``: where the paths of two packets part, what decided, and what each did then, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.trace.compare import function_of
from ktcpdump_tui.trace.decision import decision_at
from ktcpdump_tui.trace.values import TraceValues

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktcpdump_tui.model import Packet
    from ktcpdump_tui.trace.compare import Comparison, Parting, Path, Stretch
    from ktcpdump_tui.trace.decision import Decision, Pair, Text

#: Functions of one side that are named behind a parting.
_MOST: Final = 12


def comparison_lines(found: Comparison, text: Text | None = None) -> list[str]:
    """Return the lines that tell of a comparison; ``text`` gives source lines (decision.py)."""
    a, b = _names(found)
    lines = [
        f"{a}: {_events(found.a_events)}, {_fate(found.a.packet)}",
        f"{b}: {_events(found.b_events)}, {_fate(found.b.packet)}",
        f"{found.common} of {a}'s events are at lines that {b} executed as well",
    ]
    if not found.same_kernel:
        lines.append(
            "the kernels differ: lines are compared by their distance from the start of their function"
        )
    for path, name in ((found.a, a), (found.b, b)):
        if path.trace.lost_during(path.packet.id):
            lines.append(f"events of {name} may be missing: some were lost while it lived")
    if found.same:
        return [*lines, "both took the same path"]
    one = TraceValues(found.a.trace)
    values = one, one if found.b.trace is found.a.trace else TraceValues(found.b.trace)
    for number, parting in enumerate(found.partings, 1):
        decisive = " (the decisive one)" if parting is found.decisive and len(found.partings) > 1 else ""
        lines += ["", f"parting {number}{decisive}"]
        decision = decision_at(found, parting, values, text)
        lines += _decided(parting, decision, (a, b))
        lines += [
            _side(a, found.a, parting.a),
            _side(b, found.b, parting.b),
            f"  joined   {_joined(found, parting)}",
        ]
    return lines


def _names(found: Comparison) -> tuple[str, str]:
    one, two = found.a.packet.id, found.b.packet.id
    if found.a.trace is found.b.trace:
        return f"packet {one}", f"packet {two}"
    return f"packet {one} of {found.a.trace.path.name}", f"packet {two} of {found.b.trace.path.name}"


def _fate(packet: Packet) -> str:
    if packet.fate == "dropped":
        at = " ".join(part for part in (packet.drop_symbol, packet.drop_line) if part)
        return f"dropped: {packet.drop_reason or 'no reason given'}" + (f" at {at}" if at else "")
    return packet.fate or "still on its way at the end"


def _decided(parting: Parting, decision: Decision | None, names: tuple[str, str]) -> Iterator[str]:
    """Yield where it was decided, and the values on both sides."""
    if decision is None or parting.decision is None or parting.instruction is None:
        yield "  after    nothing: they differ from the start"
        return
    one, (a, b) = parting.instruction, parting.decision
    yield f"  after    events {a} and {b}: {one.ksym} {one.addr2line} in {function_of(one)}"
    if decision.statement:
        yield f"             {decision.statement}"
    if decision.compare:
        yield f"             {decision.compare}; {one.text}"
    if parting.lost:
        yield "             events were lost right behind it: the paths may have parted later"
    shown = _distinct((*decision.condition, *decision.machine, *decision.variables))
    if shown:
        width = max(len(pair.name) for pair in shown)
        left = max(len(names[0]), *(len(pair.a or "?") for pair in shown))
        yield f"           {'':<{width}}  {names[0]:<{left}}  {names[1]}"
        for pair in shown:
            yield f"           {pair.name:<{width}}  {pair.a or '?':<{left}}  {pair.b or '?'}"


def _distinct(pairs: Sequence[Pair]) -> list[Pair]:
    return list({pair.name: pair for pair in reversed(pairs)}.values())[::-1]


def _side(name: str, path: Path, stretch: Stretch) -> str:
    if stretch.first is None or stretch.last is None:
        return f"  {name} goes straight on"
    first = path.step(stretch.start)
    functions = list(
        dict.fromkeys(path.step(at).instruction.symbol for at in range(stretch.start, stretch.end))
    )
    more = f" and {len(functions) - _MOST} more" if len(functions) > _MOST else ""
    return (
        f"  {name}: {_events(stretch.count)} of its own, {stretch.first} to {stretch.last}, beginning at "
        f"{first.instruction.ksym} {first.instruction.addr2line}; in {', '.join(functions[:_MOST])}{more}"
    )


def _joined(found: Comparison, parting: Parting) -> str:
    if parting.joined is None:
        return "never"
    one = found.a.trace.event(parting.joined[0]).instruction
    return f"at events {parting.joined[0]} and {parting.joined[1]}: {one.ksym} {one.addr2line}"


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"
