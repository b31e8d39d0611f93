"""The trace list's scroll bar, which also shows where in the whole list something is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ktcpdump_tui.tui.line_view import palette_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual import events

    from ktcpdump_tui.tui.trace_list import TraceList

    Array = np.ndarray[Any, np.dtype[Any]]

#: What is shown, the most important last, as it covers the others: sign, style.
SIGNS: Final = {
    "breakpoint": ("●", "breakpoint"),
    "loss": ("—", "lost"),
    "drop": ("✗", "lost"),
    "mark": ("◆", "accent"),
}


class Minimap(Widget):
    """One cell wide and as high as the list: each cell stands for an equal share of all rows."""

    DEFAULT_CSS = "Minimap { width: 1; height: 1fr; }"

    class Asked(Message):
        """The user clicked at ``share`` (0 to 1) of the list."""

        def __init__(self, share: float) -> None:
            super().__init__()
            self.share = share

    def __init__(self, table: TraceList, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._table = table
        self._places: Mapping[str, Array] = {}
        self._kinds: dict[int, str] = {}
        self._thumb = range(0)
        self._dragged = False

    def on_mount(self) -> None:
        """Go along with the list."""
        self.watch(self._table, "scroll_y", self._draw_if_other, init=False)

    def show(self, places: Mapping[str, Array]) -> None:
        """Show these rows, ascending, by their kind in SIGNS."""
        self._places = places
        self._draw_if_other()

    def _draw_if_other(self) -> None:
        height = self.size.height
        if (self.cells(height), self.thumb(height)) != (self._kinds, self._thumb):
            self.refresh()

    def cells(self, height: int) -> dict[int, str]:
        """Return the kind shown in each cell that shows any."""
        rows = len(self._table.rows)
        # The first row of each cell but the first.
        firsts = -(-np.arange(1, height) * rows // height)
        found: dict[int, str] = {}
        for kind in SIGNS:
            places = self._places.get(kind)
            if places is not None and len(places) and rows and height:
                listed = np.minimum(places, rows - 1)
                ends = np.concatenate(([0], listed.searchsorted(firsts), [len(listed)]))
                found |= dict.fromkeys(np.flatnonzero(np.diff(ends)).tolist(), kind)
        return found

    def thumb(self, height: int) -> range:
        """Return the cells that stand for what is visible."""
        rows, page, top = len(self._table.rows), self._table.page_lines, self._table.scroll_offset.y
        if rows <= page:
            return range(0)
        size = max(1, round(height * page / rows))
        start = round((height - size) * top / max(1, rows - page))
        return range(start, start + size)

    def render_lines(self, crop: Any) -> list[Strip]:
        """Work the cells out once for all lines."""
        self._kinds, self._thumb = self.cells(self.size.height), self.thumb(self.size.height)
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Draw one cell."""
        palette = palette_of(self)
        inside = y in self._thumb
        ground = palette["thumb"] if inside else Style.null()
        kind = self._kinds.get(y)
        if kind is None:
            return Strip(
                [
                    Segment(
                        "┃" if inside else "│",
                        self.rich_style + (palette["thumb_text"] if inside else palette["rule"]),
                    )
                ]
            )
        sign, style = SIGNS[kind]
        return Strip([Segment(sign, self.rich_style + palette[style] + ground)])

    def _ask(self, y: int) -> None:
        self.post_message(self.Asked(max(0.0, min(1.0, y / max(1, self.size.height - 1)))))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Go there."""
        event.stop()
        self._dragged = True
        self.capture_mouse()
        self._ask(event.y)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Go along."""
        if self._dragged:
            self._ask(event.y)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Let go."""
        event.stop()
        self._dragged = False
        self.release_mouse()
