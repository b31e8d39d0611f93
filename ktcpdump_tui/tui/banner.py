"""One line above the status bar for what the user has to know now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widget import Widget

from ktcpdump_tui.tui.line_view import palette_of, printable

if TYPE_CHECKING:
    from textual.timer import Timer

#: Seconds that a notice stays. An error stays until it is dismissed.
NOTICE_SECONDS = 4.0


class Banner(Widget):
    """An error (stays until Esc) or a notice (goes by itself)."""

    DEFAULT_CSS = """
    Banner { height: auto; max-height: 4; display: none; background: $panel; padding: 0 1; }
    Banner.error { background: #b3261e; color: #ffffff; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.message = ""
        self._timer: Timer | None = None

    def show_error(self, message: str) -> None:
        """Show an error until it is dismissed."""
        self._show(message, error=True)

    def show_notice(self, message: str) -> None:
        """Show a notice for some seconds; it does not cover an error."""
        if not (self.display and self.has_class("error")):
            self._show(message, error=False)
            self._timer = self.set_timer(NOTICE_SECONDS, self.dismiss)

    def _show(self, message: str, *, error: bool) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self.message = message
        self.set_class(error, "error")
        self.display = True
        self.refresh(layout=True)

    def dismiss(self) -> None:
        """Take the banner away."""
        self.display = False

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
