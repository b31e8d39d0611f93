"""How the rows of the trace list look: events, losses, drops, and headings of packets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.tui.line_view import Part, clip, clip_left, clip_offset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.style import Style

    from ktcpdump_tui.model import Instruction, Packet
    from ktcpdump_tui.tui.columns import Placed
    from ktcpdump_tui.tui.event_list import Drop, Gap, Group, Head
    from ktcpdump_tui.tui.palette import Palette


#: One level of the call graph.
INDENT: Final = "│ "


class Texts(Protocol):
    """Source lines that are known by now."""

    def line(self, file: str, number: int) -> str:
        """Return the text of a line, empty where it is not known (yet)."""
        ...


def duration(ns: int) -> str:
    """Return a time difference in at most eight characters."""
    sign, value = ("-" if ns < 0 else "+"), abs(ns)
    if value < 1000:
        return f"{sign}{value}ns"
    for unit, size in (("us", 10**3), ("ms", 10**6), ("s", 10**9)):
        if value < 1000 * size or unit == "s":
            number = value / size
            return f"{sign}{number:.{3 if number < 10 else 2 if number < 100 else 1}f}{unit}"
    return ""


@dataclass(frozen=True, slots=True)
class RowPainter:
    """Turns rows into parts. ``start`` is when the capture began, in ns."""

    palette: Palette
    columns: Sequence[Placed]
    start: int
    instruction: Callable[[int], Instruction]
    texts: Texts
    nested: bool

    def event(self, head: Head, *, here: bool, broken: bool, marked: bool) -> list[Part]:
        """Return an event's parts."""
        palette = self.palette
        instruction = self.instruction(head.insn)
        parts: list[Part] = [
            ("▶" if here else " ", palette["marker"]),
            ("●" if broken else " ", palette["breakpoint"]),
            ("◆" if marked else " ", palette["accent"]),
        ]
        for placed in self.columns:
            text, style = self._cell(placed.column.key, placed.width, head, instruction)
            text = text.rjust(placed.width) if placed.column.right else text
            parts.append((clip(text, placed.width) + " ", style))
        return parts

    def _cell(self, key: str, width: int, head: Head, instruction: Instruction) -> tuple[str, Style]:
        palette = self.palette
        plain = {
            "no": (head.no, "number"),
            "cpu": (head.cpu, "dim"),
            "comm": (head.comm, "dim"),
            "pid": (head.pid, "dim"),
            "dev": (head.dev, "dim"),
            "netns": ("" if head.netns is None else head.netns, "dim"),
            "found": (head.found_by, "dim"),
            "len": ("" if head.len is None else head.len, "number"),
        }
        if key in plain:
            value, name = plain[key]
            return str(value), palette[name]
        if key == "time":
            return f"{(head.ts - self.start) / 1e9:.6f}", palette["dim"]
        if key == "delta":
            return duration(head.delta) if head.delta is not None else "", palette["dim"]
        if key == "packet":
            return str(head.packet or "?"), palette.packet(head.packet)
        if key == "skb":
            return f"{head.skb:016x}", palette["dim"]
        if key == "function":
            indent = INDENT * min(head.depth, (width - 12) // 2) if self.nested else ""
            return indent + clip_offset(instruction.ksym, width - len(indent)), palette["symbol"]
        if key == "line":
            return clip_left(instruction.addr2line, width), palette["file"]
        if key == "source":
            source = instruction.source
            return (self.texts.line(source.file, source.line) if source else ""), palette["text"]
        inlined = instruction.inlined_by[0].function if len(instruction.inlined_by) > 1 else ""
        return inlined, palette["inline"]

    def gap(self, gap: Gap, width: int) -> list[Part]:
        """Return what says that events were lost."""
        plural = "" if gap.lost == 1 else "s"
        text = f" {gap.lost:,} event{plural} lost on CPU {gap.cpu} "
        return [(text.center(width, "—"), self.palette["lost"])]

    def drop(self, drop: Drop, packet: Packet | None) -> list[Part]:
        """Return where and why a packet was dropped."""
        palette = self.palette
        parts: list[Part] = [("   ", palette["text"]), ("✗ ", palette["lost"])]
        parts.append((f"packet {drop.packet} dropped", palette["lost"]))
        if packet is None:
            return parts
        parts.append((f": {packet.drop_reason or 'reason unknown'}", palette["lost"]))
        where = packet.drop_symbol or (f"{packet.drop_location:#x}" if packet.drop_location else "")
        if where:
            parts += [("  in ", palette["dim"]), (where, palette["symbol"])]
        if packet.drop_line:
            parts.append((f"  {packet.drop_line}", palette["file"]))
        return parts

    def group(self, group: Group, packet: Packet | None) -> list[Part]:
        """Return the heading of a packet's events."""
        palette = self.palette
        plural = "" if group.events == 1 else "s"
        parts: list[Part] = [
            (f" {'▾' if group.open else '▸'} ", palette["heading"]),
            (f"packet {group.packet}", palette.packet(group.packet) + palette["heading"]),
            (f"  {group.events:,} event{plural}", palette["text"]),
        ]
        if packet is None:
            return parts
        parts.append((f"  +{(packet.first_seen - self.start) / 1e9:.6f}s", palette["dim"]))
        if packet.parent is not None:
            parts.append((f"  {packet.origin} of packet {packet.parent}", palette["dim"]))
        if packet.fate == "dropped":
            parts.append((f"  dropped: {packet.drop_reason}  {packet.drop_line or ''}", palette["lost"]))
        elif packet.fate:
            parts.append((f"  {packet.fate}", palette["good"]))
        return parts
