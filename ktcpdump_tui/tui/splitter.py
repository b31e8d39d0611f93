"""A border between two panes that can be dragged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message
from textual.widget import Widget

if TYPE_CHECKING:
    from textual import events


class Splitter(Widget):
    """A column (``vertical``) or a row of the screen that belongs to neither pane."""

    DEFAULT_CSS = """
    Splitter { background: $background; color: $rule; }
    Splitter.-vertical { width: 1; height: 1fr; }
    Splitter.-horizontal { width: 1fr; height: 1; }
    Splitter:hover, Splitter.-held { color: $rule-focus; }
    """

    class Moved(Message):
        """The user moved the border to cell ``at`` of the screen (x of a vertical one, y of the other)."""

        def __init__(self, splitter: Splitter, at: int) -> None:
            super().__init__()
            self.splitter = splitter
            self.at = at

    def __init__(self, *, vertical: bool, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="-vertical" if vertical else "-horizontal")
        self.vertical = vertical

    def render(self) -> str:
        """Draw the line."""
        if self.vertical:
            return "\n".join("│" * self.size.height)
        return "─" * self.size.width

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold."""
        event.stop()
        self.capture_mouse()
        self.add_class("-held")

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Move."""
        if self.has_class("-held"):
            self.post_message(self.Moved(self, event.screen_x if self.vertical else event.screen_y))

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Let go."""
        event.stop()
        self.remove_class("-held")
        self.release_mouse()
