"""The trace list's columns, one to the line, to be shown, hidden, moved and resized."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from ktcpdump_tui.tui.columns import COLUMNS, ColumnChoice
from ktcpdump_tui.tui.line_view import LineView, Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.style import Style
    from textual import events


class ColumnList(LineView):
    """Edits a ``ColumnChoice`` and says when it changed."""

    HELP: ClassVar[str] = "The columns of the trace list, from left to right."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", "One line down", show=False),
        Binding("k", "move(-1)", "One line up", show=False),
        Binding("space,enter", "show_column", "Show or hide the column", show=False),
        Binding("J,shift+down", "shift(1)", "Move the column to the right", show=False),
        Binding("K,shift+up", "shift(-1)", "Move the column to the left", show=False),
        Binding("plus,right", "widen(1)", "Wider", show=False),
        Binding("minus,left", "widen(-1)", "Narrower", show=False),
        Binding("a", "fit", "As wide as what is in it", show=False),
        Binding("r", "reset", "All columns as at first", show=False),
    ]

    class Changed(Message):
        """The choice is another one."""

    def __init__(self, choice: ColumnChoice) -> None:
        super().__init__()
        self.choice = choice

    def on_mount(self) -> None:
        """Say how many there are."""
        self.set_lines(len(COLUMNS))

    @property
    def _key(self) -> str:
        return self.choice.order[self.cursor]

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one line: whether it is shown, its name, its width, what it is."""
        palette, key = self.palette, self.choice.order[y]
        column, shown = COLUMNS[key], key not in self.choice.hidden
        width = str(self.choice.widths.get(key, ""))
        parts: list[Part] = [
            (" [x] " if shown else " [ ] ", palette["good" if shown else "dim"]),
            (f"{column.title:<10} ", palette["heading" if shown else "text"]),
            (f"{width:>4}  ", palette["number"]),
            (column.what, palette["text" if shown else "dim"]),
        ]
        return parts, palette["cursor"] if y == self.cursor else palette["text"]

    def _changed(self) -> None:
        self.refresh()
        self.post_message(self.Changed())

    def action_show_column(self) -> None:
        """Show or hide."""
        self.choice.toggle(self._key)
        self._changed()

    def action_shift(self, by: int) -> None:
        """Move the column, and the cursor with it."""
        key = self._key
        self.choice.move(key, by)
        self.cursor = self.choice.order.index(key)
        self._changed()

    def action_widen(self, by: int) -> None:
        """Set the width by hand."""
        key = self._key
        self.choice.resize(key, self.choice.widths.get(key, COLUMNS[key].best) + by)
        self._changed()

    def action_fit(self) -> None:
        """Forget the width set by hand."""
        self.choice.widths.pop(self._key, None)
        self._changed()

    def action_reset(self) -> None:
        """Forget everything."""
        fresh = ColumnChoice()
        self.choice.order, self.choice.hidden, self.choice.widths = fresh.order, fresh.hidden, fresh.widths
        self._changed()

    def on_click(self, event: events.Click) -> None:
        """Go there; on the box, show or hide."""
        line = event.y + self.scroll_offset.y
        if line < self.line_count:
            self.cursor = line
            if event.x < 5:
                self.action_show_column()
            self.refresh()
