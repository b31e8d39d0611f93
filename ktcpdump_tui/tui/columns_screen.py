"""The screen on which the trace list's columns are chosen. What is changed is seen at once behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ktcpdump_tui.tui.column_list import ColumnList
from ktcpdump_tui.tui.columns import COLUMNS, ColumnChoice

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult


class ColumnsScreen(ModalScreen[None]):
    """``changed`` is called after every change of the choice."""

    DEFAULT_CSS = f"""
    ColumnsScreen {{ align: center middle; background: $background 0%; }}
    ColumnsScreen > Vertical {{
        width: 78; max-width: 100%; height: {len(COLUMNS) + 4}; max-height: 100%;
        background: $background; border: round $rule-focus;
    }}
    ColumnsScreen ColumnList {{ height: 1fr; }}
    ColumnsScreen Static {{ height: 2; color: $text-muted; padding: 0 1; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,o", "dismiss", "Done")]

    def __init__(self, choice: ColumnChoice, changed: Callable[[], None]) -> None:
        super().__init__()
        self._choice, self._changed = choice, changed

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical() as box:
            box.border_title = "Columns: Esc leaves"
            yield ColumnList(self._choice)
            yield Static("Space shows or hides   J K move   + - width   a fits   r as at first")

    def on_column_list_changed(self) -> None:
        """Show it."""
        self._changed()
