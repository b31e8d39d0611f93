"""What all parts of the application use to speak to the user."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import traceback
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from textual import events
from textual.app import App

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.gate import Gate
from ktcpdump_tui.tui.later import import_rest
from ktcpdump_tui.tui.painter import MainScreen
from ktcpdump_tui.tui.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType
    from textual.geometry import Size
    from textual.screen import Screen
    from textual.widget import Widget


#: Seconds between looks for garbage among all objects, and after the last key.
_COLLECT: Final = 60.0
_QUIET: Final = 2.0

#: Seconds in which a frame is written to the terminal.
_WRITING: Final = 0.003

#: Columns and lines that both need.
LARGE: Final = (100, 28)


class PanesScreen(MainScreen):
    """The screen with the panes; the list has the keyboard at first."""

    AUTO_FOCUS = "#trace"
    _begun = False

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        """Leave the styles as they are at first: they were worked out when the panes were made, just now."""
        event.refresh_styles = event.refresh_styles and self._begun
        self._begun = True

    def choose_layout(self, size: Size) -> None:
        """Choose the layout for a size: small terminals show the list or the inspector, not both."""
        large = size.width >= LARGE[0] and size.height >= LARGE[1]
        self.set_class(large, "large")
        self.set_class(not large, "compact")


class BaseApp(App[int]):
    """An application whose first screen has the panes and a banner. Its value is the exit status.

    ``painted`` is set when the first picture is on the screen: threads begin only then, because they would
    share the interpreter with what draws it. ``when_painted`` is called then.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.painted = threading.Event()
        self.gate = Gate()
        self.ticker = Ticker(self, self.beat, self.news)
        self._bottom: Widget | None = None
        self._pressed = 0.0
        self.when_painted: Callable[[], None] | None = None

    def first_picture(self) -> None:
        """Do what had to wait for the first picture."""
        self.painted.set()
        import_rest()
        self.set_interval(_COLLECT, self._collect)
        if self.when_painted is not None:
            self.when_painted()

    def _collect(self) -> None:
        """Look through all objects for garbage, unless someone is at the keys (run.py)."""
        if time.monotonic() - self._pressed > _QUIET:
            gc.collect()

    def get_default_screen(self) -> Screen[Any]:
        """Make the screen with the panes; its layout is chosen before their styles are worked out."""
        screen = PanesScreen()
        screen.choose_layout(self.size)
        return screen

    def on_resize(self, event: events.Resize) -> None:
        """Choose the layout for the size."""
        if isinstance(self.main, PanesScreen):
            self.main.choose_layout(event.size)

    @abstractmethod
    def beat(self) -> None:
        """Look what is new."""

    @abstractmethod
    def news(self) -> bool:
        """Return whether anything seems to be new, cheaply."""

    async def on_event(self, event: events.Event) -> None:
        """Have the threads wait until a key is answered; look often for what it may lead to."""
        if isinstance(event, events.InputEvent):
            self.ticker.stir()
        if isinstance(event, events.Key | events.MouseDown | events.MouseScrollDown | events.MouseScrollUp):
            self.gate.shut()
            self._pressed = time.monotonic()
        await super().on_event(event)

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        # Textual calls this for each frame. If a later version does not, the gate opens by itself.
        super()._display(screen, renderable)
        # A thread of Textual's writes it, and needs the interpreter for that.
        asyncio.get_running_loop().call_later(_WRITING, self.gate.open, self.gate.turn)
        self.ticker.stir()  # what was drawn may have asked for something

    @property
    def main(self) -> Screen[Any]:
        """The screen with the panes, also while another one (help, log) is above it."""
        return self.screen_stack[0]

    @property
    def shown(self) -> bool:
        """Whether the panes are there: they are not while the application ends, and timers still call."""
        if not self.screen_stack:
            return False
        if self._bottom is None:  # looked for once: timers ask twenty times a second
            self._bottom = next(iter(self.main.query("#status")), None)
        return self._bottom is not None and self._bottom.is_attached

    def notice(self, text: str) -> None:
        """Say something for a few seconds."""
        self.main.query_one(Banner).show_notice(text)

    def fail(self, error: BaseException) -> None:
        """Show an error that happened elsewhere; one of our own making goes to the log in full."""
        if not self.shown:
            return
        if not isinstance(error, UserError | IndexError):
            traceback.print_exception(error)
            self.main.query_one(Banner).show_error(
                f"internal error: {type(error).__name__}: {error} (l shows the log)"
            )
        else:
            self.main.query_one(Banner).show_error(str(error))
