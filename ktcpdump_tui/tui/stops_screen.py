"""The breakpoints, watches and catches: to enable, disable, delete, and go to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from ktcpdump_tui.tui.line_view import LineView, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.style import Style
    from textual import events
    from textual.app import ComposeResult

    from ktcpdump_tui.tui.stops import StopPoint, Stops


class StopsView(LineView):
    """A line per breakpoint, as ``info breakpoints`` has them in gdb."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", "Next", show=False),
        Binding("k", "move(-1)", "Before", show=False),
    ]

    class Toggled(Message):
        """The mark under the cursor was clicked on."""

    def __init__(self, stops: Stops) -> None:
        super().__init__(id="stops")
        self._stops = stops
        self.points: list[StopPoint] = []

    def on_mount(self) -> None:
        """Fill."""
        self.fill()

    def fill(self) -> None:
        """Show the table as it is now."""
        self.points = list(self._stops)
        self.set_lines(max(1, len(self.points)))
        self.cursor = max(0, min(self.cursor, len(self.points) - 1))
        self.refresh()

    @property
    def point(self) -> StopPoint | None:
        """What the cursor is on."""
        return self.points[self.cursor] if self.points else None

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one line."""
        palette = self.palette
        if not self.points:
            text = "nothing stops continue: b sets a breakpoint on the source line, :watch EXPR, :catch drop"
            return [(text, palette["dim"])], palette["text"]
        point = self.points[y]
        tone = palette["text"] if point.enabled else palette["dim"]
        parts: list[Part] = [
            (f"{point.number:>4} ", palette["number"]),
            ("● " if point.enabled else "○ ", palette["breakpoint"] if point.enabled else palette["dim"]),
            (f"{point.kind:<11}", palette["dim"]),
            (f"{point.hits:>6,} ", palette["hits"]),
            (point.text, tone),
        ]
        if point.kind == "breakpoint" and not point.insns:
            parts.append(("  pending: nothing is probed there", palette["warn"]))
        if point.condition:
            parts += [("  if ", palette["dim"]), (point.condition, palette["constant"])]
        if point.ignore:
            parts.append((f"  ignores the next {point.ignore:,}", palette["warn"]))
        if point.temporary:
            parts.append(("  once", palette["dim"]))
        return parts, palette["cursor"] if y == self.cursor else palette["text"]

    def on_click(self, event: events.Click) -> None:
        """Move the cursor; on the mark, enable or disable."""
        line = event.y + self.scroll_offset.y
        if line < len(self.points):
            self.cursor = line
            if event.x < 7:
                self.post_message(self.Toggled())
            self.refresh()


class StopsScreen(ModalScreen["StopPoint | None"]):
    """Changes ``stops``, calling ``changed`` each time; gives the one whose next event is to be gone to."""

    DEFAULT_CSS = """
    StopsScreen { align: center middle; }
    StopsScreen > Vertical {
        width: 90%; max-width: 110; height: auto; max-height: 80%; padding: 0 1;
        background: $background; border: round $rule-focus;
    }
    StopsScreen LineView { height: auto; max-height: 20; min-height: 4; }
    StopsScreen Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,e", "enable", "Enable or disable"),
        Binding("d,delete", "delete", "Delete"),
        Binding("enter", "choose", "Go to its next event"),
        Binding("escape,q,B", "leave", "Leave"),
    ]

    def __init__(self, stops: Stops, changed: Callable[[], None]) -> None:
        super().__init__()
        self._stops, self._changed = stops, changed

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical() as box:
            box.border_title = "Breakpoints: Esc leaves"
            yield Static(" Num   Type        Hits What", markup=False)
            yield StopsView(self._stops)
            yield Static("Space enable/disable · d delete · Enter go to its next event", markup=False)

    def on_mount(self) -> None:
        """Give the list the keyboard."""
        self._view.focus()

    @property
    def _view(self) -> StopsView:
        return self.query_one(StopsView)

    def action_enable(self) -> None:
        """Enable or disable the one under the cursor."""
        if (point := self._view.point) is not None:
            point.enabled = not point.enabled
            self._show()

    def on_stops_view_toggled(self) -> None:
        """Enable or disable the one that was clicked on."""
        self.action_enable()

    def action_delete(self) -> None:
        """Delete the one under the cursor."""
        if (point := self._view.point) is not None:
            self._stops.delete(point)
            self._show()

    def action_choose(self) -> None:
        """Go to the next event of the one under the cursor."""
        self.dismiss(self._view.point)

    def action_leave(self) -> None:
        """Leave."""
        self.dismiss(None)

    def _show(self) -> None:
        self._view.fill()
        self._changed()
