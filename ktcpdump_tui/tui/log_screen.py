"""The last lines that BCC, clang or anything else wrote on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from ktcpdump_tui.tui.line_view import LineView, Part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.style import Style
    from textual.app import ComposeResult

    from ktcpdump_tui.tui.ports import Log

#: Seconds between looks at the log.
_INTERVAL = 0.5


class LogView(LineView):
    """The lines."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def show(self, lines: list[str]) -> None:
        """Show these lines, the last one visible."""
        at_end = self.cursor >= len(self._lines) - 1
        self._lines = lines or ["nothing was written on standard error"]
        self.set_lines(len(self._lines), max(len(line) for line in self._lines))
        if at_end:
            self.cursor = len(self._lines) - 1
            self.show_line(self.cursor)
        self.refresh()

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one line."""
        under = self.palette["cursor"] if y == self.cursor else self.palette["text"]
        return [(self._lines[y].expandtabs(), self.palette["text"])], under


class LogScreen(ModalScreen[None]):
    """Shows a ``Log`` while it grows."""

    DEFAULT_CSS = """
    LogScreen { align: center middle; }
    LogScreen > Vertical { width: 95%; height: 90%; background: $background; border: round $rule-focus; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,l", "dismiss", "Leave the log")]

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self._seen = -1

    def compose(self) -> ComposeResult:
        """Make the view."""
        with Vertical() as frame:
            frame.border_title = "Standard error: Esc leaves"
            yield LogView()

    def on_mount(self) -> None:
        """Begin to look."""
        self._look()
        self.set_interval(_INTERVAL, self._look)

    def _look(self) -> None:
        if self._log.count != self._seen:
            self._seen = self._log.count
            self.query_one(LogView).show(self._log.lines())
