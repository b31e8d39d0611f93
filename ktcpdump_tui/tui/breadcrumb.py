"""The line above the source: where the packet is, and through which inlined functions it came there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widget import Widget

from ktcpdump_tui.tui.line_view import palette_of, printable

if TYPE_CHECKING:
    from ktcpdump_tui.model import InlineFrame, Instruction


class Breadcrumb(Widget):
    """``ip_rcv_core ← skb_share_check (inlined, include/linux/skbuff.h:1756)``."""

    DEFAULT_CSS = "Breadcrumb { height: 1; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._instruction: Instruction | None = None
        self._level = 0

    def show(self, instruction: Instruction | None, level: int) -> None:
        """Show this instruction's chain; ``level`` is the frame in the source pane, 0 the innermost."""
        self._instruction, self._level = instruction, level
        self.refresh()

    def render(self) -> Text:
        """Lay the chain out from the real function inwards; what does not fit is left out in the middle."""
        palette, instruction = palette_of(self), self._instruction
        if instruction is None:
            return Text("no event yet", palette["dim"])
        chain = list(enumerate(instruction.inlined_by))[::-1]
        if len(chain) < 2:
            text = Text(printable(instruction.ksym), palette["symbol"])
            text.append("  " + printable(instruction.text), palette["dim"])
            if instruction.call:
                text.append(f"  // CALL {printable(instruction.call)}", palette["inline"])
            return text
        hidden = 0
        while True:
            text = self._lay_out(chain, hidden, instruction)
            if text.cell_len <= self.size.width or hidden >= len(chain) - 2:
                return text
            hidden += 1

    def _lay_out(self, chain: list[tuple[int, InlineFrame]], hidden: int, instruction: Instruction) -> Text:
        palette = palette_of(self)
        text = Text(no_wrap=True, overflow="ellipsis")
        shown = chain[:1] + chain[1 + hidden :]
        for place, (level, frame) in enumerate(shown):
            if place:
                text.append(" ← ", palette["dim"])
            if place == 1 and hidden:
                text.append(f"({hidden} more) ← ", palette["dim"])
            style = palette["symbol"] if place == 0 else palette["inline"]
            if level == self._level:
                style += palette["marker"]
            text.append(printable(instruction.symbol if place == 0 else frame.function), style)
        level, frame = chain[-1]
        text.append(f" (inlined, {printable(frame.file)}:{frame.line})", palette["dim"])
        return text
