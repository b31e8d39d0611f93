"""The aligned rows of two packets' paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from ktcpdump_tui.tui.line_view import LineView, Part, clip, clip_left

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.style import Style
    from textual import events

    from ktcpdump_tui.trace.compare import Row, Step
    from ktcpdump_tui.tui.comparison import SideBySide


class CompareList(LineView):
    """Left what the first packet did, right the second; between them whether that is the same."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", "Next row", show=False),
        Binding("k", "move(-1)", "Row before", show=False),
        Binding("g", "move(-1000000000)", "First row", show=False),
        Binding("G", "move(1000000000)", "Last row", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row."""

    def __init__(self) -> None:
        super().__init__(id="compare-rows")
        self._found: SideBySide | None = None
        self._digits = 1

    def show(self, found: SideBySide) -> None:
        """Show a comparison, the cursor where the packets part."""
        self._found = found
        steps = (step for row in found.rows for step in (row.a, row.b) if step is not None)
        self._digits = len(str(max((step.last for step in steps), default=0)))
        self.set_lines(len(found.rows))
        self.go_to(found.decisive or 0)

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return self._found.rows[self.cursor] if self._found and self._found.rows else None

    def go_to(self, row: int) -> None:
        """Move the cursor to a row."""
        self.cursor = max(0, min(row, self.line_count - 1))
        self.show_line(self.cursor, centre=True)
        self.refresh()
        self.post_message(self.Moved())

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        super().action_move(by)
        self.post_message(self.Moved())

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one line."""
        assert self._found is not None
        palette, row = self.palette, self._found.rows[y]
        width = max(10, (self.size.width - 5) // 2)
        here, parting = y == self.cursor, y in self._found.partings
        sign = " = " if row.same else " ≠ "
        if parting:
            sign = " ◆ " if y == self._found.decisive else " ◇ "
        tone = palette["text"] if row.same else palette["changed"]
        parts: list[Part] = [("▶" if here else " ", palette["marker"])]
        parts += self._side(row.a, width, tone)
        parts.append(
            (sign, palette["lost"] if parting else palette["dim"] if row.same else palette["changed"])
        )
        parts += self._side(row.b, width, tone)
        return parts, palette["current"] if here else palette["text"]

    def _side(self, step: Step | None, width: int, tone: Style) -> list[Part]:
        palette = self.palette
        if step is None:
            return [("·".center(width), palette["dim"])]
        number = f"{step.last:>{self._digits}} "
        room = width - len(number) - 1
        place = step.place if len(step.function) + len(step.place) <= room else step.place.rpartition("/")[2]
        name = max(8, room - len(place), room // 2)
        return [
            (number, palette["number"]),
            (clip(step.function, name) + " ", tone),
            (clip_left(place, room - name), palette["file"]),
        ]

    def on_click(self, event: events.Click) -> None:
        """Move the cursor there."""
        line = event.y + self.scroll_offset.y
        if line < self.line_count:
            self.action_move(line - self.cursor)
