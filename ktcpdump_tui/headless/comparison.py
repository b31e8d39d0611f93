"""``--compare``: where the paths of two packets part, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ktcpdump_tui.trace.compare import Comparison, Parting, Stretch
    from ktcpdump_tui.trace.trace import Trace


def comparison_lines(trace: Trace, a: int, b: int, found: Comparison) -> list[str]:
    """Return the lines that tell of ``found``, the comparison of packets ``a`` and ``b`` of ``trace``."""
    lengths = f"packet {a}: {_events(found.a_events)}, packet {b}: {_events(found.b_events)}"
    lines = [f"{lengths}, {found.common} in common"]
    if found.same:
        return [*lines, "both took the same path"]
    for number, parting in enumerate(found.partings, 1):
        decisive = " (the decisive one)" if parting is found.decisive and len(found.partings) > 1 else ""
        lines += ["", f"parting {number}{decisive}", f"  after    {_decision(parting)}"]
        lines += [
            _side(trace, a, parting.a),
            _side(trace, b, parting.b),
            f"  joined   {_joined(trace, parting)}",
        ]
    return lines


def _decision(parting: Parting) -> str:
    if parting.decision is None or parting.instruction is None:
        return "nothing: they differ from the start"
    one, (a, b) = parting.instruction, parting.decision
    return f"events {a} and {b}: {one.ksym} {one.addr2line}  {one.text}".rstrip()


def _side(trace: Trace, packet: int, stretch: Stretch) -> str:
    name = f"  packet {packet}"
    if stretch.first is None or stretch.last is None:
        return f"{name:<10} goes straight on"
    first = trace.event(stretch.first).instruction
    return (
        f"{name:<10} {_events(stretch.count)} of its own, {stretch.first} to {stretch.last}, "
        f"beginning at {first.ksym} {first.addr2line}"
    )


def _joined(trace: Trace, parting: Parting) -> str:
    if parting.joined is None:
        return "never"
    one = trace.event(parting.joined[0]).instruction
    return f"at events {parting.joined[0]} and {parting.joined[1]}: {one.ksym} {one.addr2line}"


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"
