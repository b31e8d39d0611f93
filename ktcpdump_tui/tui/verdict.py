"""What became of a packet, in a few lines: shown until Esc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widget import Widget

from ktcpdump_tui.tui.line_view import palette_of, printable

if TYPE_CHECKING:
    from ktcpdump_tui.tui.drops import Drop


class Verdict(Widget):
    """The drop of a packet: where, why, what decided, by which values."""

    DEFAULT_CSS = """
    Verdict { height: auto; max-height: 6; display: none; background: $panel; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.drop: Drop | None = None

    def show(self, drop: Drop) -> None:
        """Show a drop."""
        self.drop = drop
        self.display = True
        self.refresh(layout=True)

    def dismiss(self) -> None:
        """Take it away."""
        self.display = False

    def render(self) -> Text:
        """Show the drop."""
        drop, palette = self.drop, palette_of(self)
        text = Text("", palette["text"])
        if drop is None:
            return text
        packet = drop.packet
        text.append(
            f"✗ packet {packet.id} dropped: {packet.drop_reason or 'reason unknown'}", palette["lost"]
        )
        where = packet.drop_symbol or (f"{packet.drop_location:#x}" if packet.drop_location else "")
        if where:
            text.append("  in ", palette["dim"]).append(where, palette["symbol"])
        if packet.drop_line:
            text.append(f"  {packet.drop_line}", palette["file"])
        text.append(f"  event {drop.no:,}", palette["number"])
        if not drop.exact:
            text.append(" is the last before it", palette["dim"])
            if drop.advice:
                text.append(f"; {drop.advice}", palette["dim"])
        if drop.decided is not None:
            sure = bool(drop.statement)
            text.append("\n  decided by " if sure else "\n  the last branch before it is ", palette["dim"])
            said = printable(drop.statement) or "this (no source text tells what it leads to):"
            text.append(said, palette["text"]).append(f"  {drop.line}", palette["file"])
            text.append(f"  event {drop.decided:,}", palette["number"])
            if drop.values:
                text.append("\n  with ", palette["dim"])
                for at, (name, value) in enumerate(drop.values):
                    text.append(", " if at else "", palette["dim"])
                    text.append(name, palette["symbol"]).append(" = ", palette["dim"])
                    text.append(printable(value), palette["changed"])
        else:
            text.append("\n  what decided it is not in the trace", palette["dim"])
        return text

    def on_click(self) -> None:
        """Dismiss."""
        self.dismiss()
