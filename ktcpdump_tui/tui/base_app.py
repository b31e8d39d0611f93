"""What all parts of the application use to speak to the user."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING, Any

from textual.app import App

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.later import import_rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.screen import Screen


class BaseApp(App[int]):
    """An application whose first screen has the panes and a banner. Its value is the exit status.

    ``painted`` is set when the first picture is on the screen: threads begin only then, because they would
    share the interpreter with what draws it. ``when_painted`` is called then.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.painted = threading.Event()
        self.when_painted: Callable[[], None] | None = None

    def first_picture(self) -> None:
        """Do what had to wait for the first picture."""
        self.painted.set()
        import_rest()
        if self.when_painted is not None:
            self.when_painted()

    @property
    def main(self) -> Screen[Any]:
        """The screen with the panes, also while another one (help, log) is above it."""
        return self.screen_stack[0]

    @property
    def shown(self) -> bool:
        """Whether the panes are there: they are not while the application ends, and timers still call."""
        return bool(self.screen_stack) and bool(self.main.query("#status"))

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
