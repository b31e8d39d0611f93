"""What the user has to know now: a notice in the bottom line, an error in a line above it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widget import Widget

from ktcpdump_tui.tui.line_view import palette_of, printable

if TYPE_CHECKING:
    from textual.timer import Timer

    from ktcpdump_tui.tui.status_bar import StatusBar

#: Seconds that a notice stays. An error stays until it is dismissed.
NOTICE_SECONDS = 4.0


class Banner(Widget):
    """An error (stays until Esc) or a notice (goes by itself).

    ``message`` is what is shown, empty where nothing is. A notice is shown by ``line`` if it fits there: a
    line that comes or goes above it has all panes laid out and drawn anew, which takes longer than the answer
    to a key may.
    """

    DEFAULT_CSS = """
    Banner { height: auto; max-height: 4; display: none; background: $panel; padding: 0 1; }
    Banner.error { background: #b3261e; color: #ffffff; }
    """

    def __init__(self, line: StatusBar, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.message = ""
        self._line = line
        self._timer: Timer | None = None

    def show_error(self, message: str) -> None:
        """Show an error until it is dismissed."""
        self._show(message, error=True)

    def show_notice(self, message: str) -> None:
        """Show a notice for some seconds; it does not cover an error."""
        if self.display and self.has_class("error"):
            return
        if not message:
            self.dismiss()
            return
        self._show(message, error=False)
        self._timer = self.set_timer(NOTICE_SECONDS, self.dismiss)

    def _show(self, message: str, *, error: bool) -> None:
        self._stop_timer()
        self.message = message
        in_line = not error and self._line.has_room(message)
        self._line.say(message if in_line else "")
        self._appear(not in_line)
        if not in_line:
            self.set_class(error, "error")
            self.refresh(layout=True)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def dismiss(self) -> None:
        """Take away what is shown."""
        self._stop_timer()
        self.message = ""
        self._line.say("")
        self._appear(False)

    def _appear(self, wanted: bool) -> None:
        """Come or go: Textual lays out even where ``display`` is set to what it was."""
        if self.display != wanted:
            self.display = wanted

    def render(self) -> Text:
        """Show the message."""
        palette = palette_of(self)
        style = palette["bad"] if self.has_class("error") else palette["text"]
        text = Text("\n".join(printable(line) for line in self.message.splitlines()), style)
        if self.has_class("error"):
            text.append("  [Esc]", style)
        return text

    def on_click(self) -> None:
        """Dismiss."""
        self.dismiss()
