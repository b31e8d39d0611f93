"""Asks once where a capture is about to be thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

if TYPE_CHECKING:
    from textual.app import ComposeResult


class QuitScreen(ModalScreen[str]):
    """Gives ``quit``, ``record`` or ``stay``."""

    DEFAULT_CSS = """
    QuitScreen { align: center middle; }
    QuitScreen > Vertical {
        width: auto; max-width: 90%; height: auto; padding: 0 1;
        background: $background; border: round $rule-focus;
    }
    QuitScreen Static { width: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,y,ctrl+c", "answer('quit')", "Quit without keeping it", priority=True),
        Binding("r,s", "answer('record')", "Keep it: asks for a file", priority=True),
        Binding("escape,n", "answer('stay')", "Stay", priority=True),
    ]

    def __init__(self, events: int) -> None:
        super().__init__()
        self._events = events

    def compose(self) -> ComposeResult:
        """Make the question."""
        several = f"{self._events:,} events" if self._events != 1 else "1 event"
        with Vertical() as box:
            box.border_title = "quit"
            yield Static(f"{several} were captured and are kept nowhere.", markup=False)
            yield Static("q quit · r keep them in a file · Esc stay", markup=False)

    def action_answer(self, answer: str) -> None:
        """Give the answer."""
        self.dismiss(answer)
