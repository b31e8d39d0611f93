"""The names of the trace list's columns. Their borders can be dragged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.message import Message
from textual.widget import Widget

from ktcpdump_tui.tui.line_view import clip, palette_of

if TYPE_CHECKING:
    from textual import events

    from ktcpdump_tui.tui.columns import Placed
    from ktcpdump_tui.tui.trace_list import TraceList


class TraceHeader(Widget):
    """In line with the list below. A click asks for all columns, dragging the end of a name resizes."""

    DEFAULT_CSS = "TraceHeader { height: 1; text-wrap: nowrap; text-overflow: clip; }"

    class Resized(Message):
        """A column has another width now."""

    class Clicked(Message):
        """The user wants to choose columns."""

    def __init__(self, table: TraceList, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._table = table
        self._dragged: Placed | None = None
        self._moved = False

    def render(self) -> Text:
        """Draw them."""
        palette, choice = palette_of(self), self._table.choice
        text = Text("   ", palette["text"], no_wrap=True, overflow="crop")
        for placed in self._table.columns:
            title = placed.column.title
            title = title.rjust(placed.width) if placed.column.right else title
            text.append(clip(title, placed.width))
            by_hand = placed.column.key in choice.widths
            text.append("│" if by_hand or placed is self._dragged else " ", palette["accent"])
        return text

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold of the border under the mouse: the cell behind a column, or its last one."""
        self._moved = False
        for placed in self._table.columns:
            if event.x in (placed.start + placed.width, placed.start + placed.width - 1):
                self._dragged = placed
                self.capture_mouse()
                self.refresh()
        event.stop()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Move the border."""
        if self._dragged is not None:
            width = max(1, event.x - self._dragged.start)
            if width != self._dragged.width or self._moved:
                self._moved = True
                self._table.choice.resize(self._dragged.column.key, width)
                self._table.show_columns()
                self.refresh()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Let go."""
        event.stop()
        dragged, self._dragged = self._dragged, None
        if dragged is not None:
            self.release_mouse()
            self.refresh()
        self.post_message(self.Resized() if self._moved else self.Clicked())
