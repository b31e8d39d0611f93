"""The least a Textual application does: one line of text that each key changes. For bench_tui.py."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Static


class FloorApp(App[None]):
    """Counts keys."""

    ENABLE_COMMAND_PALETTE = False
    keys = 0

    def compose(self) -> ComposeResult:
        """Make the line."""
        yield Static("REPLAY 0", id="line")

    def on_key(self) -> None:
        """Count."""
        self.keys += 1
        self.query_one("#line", Static).update(f"REPLAY {self.keys}")


if __name__ == "__main__":
    FloorApp().run()
