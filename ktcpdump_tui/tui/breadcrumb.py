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

    DEFAULT_CSS = "Breadcrumb { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }"

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
            text = Text(printable(instruction.ksym), palette["symbol"], no_wrap=True, overflow="ellipsis")
            if instruction.source is not None:
                text.append("  " + printable(instruction.addr2line), palette["file"])
            text.append("  " + printable(" ".join(instruction.text.split())), palette["dim"])
            if instruction.call:
                text.append(f"  // CALL {printable(instruction.call)}", palette["inline"])
            return text
        # The middle goes first: neither the real function, nor the innermost, nor the frame being shown.
        hideable = [level for level, _ in chain[1:-1] if level != self._level]
        for count in range(len(hideable) + 1):
            text = self._lay_out(chain, set(hideable[:count]), instruction)
            if text.cell_len <= self.size.width:
                break
        return text

    def _lay_out(
        self, chain: list[tuple[int, InlineFrame]], hidden: set[int], instruction: Instruction
    ) -> Text:
        palette = palette_of(self)
        text = Text(no_wrap=True, overflow="ellipsis")
        left_out = 0
        for place, (level, frame) in enumerate(chain):
            if level in hidden:
                left_out += 1
                continue
            if left_out:
                text.append(f" ← ({left_out} more)", palette["dim"])
                left_out = 0
            if place:
                text.append(" ← ", palette["dim"])
            style = palette["symbol"] if place == 0 else palette["inline"]
            if level == self._level:
                style += palette["marker"]
            text.append(printable(instruction.symbol if place == 0 else frame.function), style)
        frame = instruction.inlined_by[self._level]
        what = "calls it at" if self._level else "inlined,"
        text.append(f" ({what} {printable(frame.file)}:{frame.line})", palette["dim"])
        return text
