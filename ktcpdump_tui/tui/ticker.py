"""What asks ten times a second what is new, and costs next to nothing while nothing is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App

#: Seconds between looks.
TICK: Final = 0.1

#: Seconds after the last thing that happened in which there is a tick at each look, and between ticks then.
_CALM: Final = 1.0


class Ticker:
    """Calls ``tick`` at each look while something goes on, else once a second, or when ``news`` says so.

    A timer of Textual's sends a message each time, after which the application looks whether anything is to
    be drawn: that takes ten times what it takes to ask the trace whether it grew.
    """

    def __init__(self, app: App[Any], tick: Callable[[], None], news: Callable[[], bool]) -> None:
        self._app, self._tick, self._news = app, tick, news
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = False
        self._calm_at = self._next = 0.0

    def start(self) -> None:
        """Begin; called in the interface's thread."""
        self._loop = asyncio.get_running_loop()
        self.stir()
        self._handle = self._loop.call_later(TICK, self._look)

    def stop(self) -> None:
        """End."""
        self._loop = None
        if self._handle is not None:
            self._handle.cancel()

    def stir(self) -> None:
        """Something happened: what belongs to it may follow."""
        self._calm_at = time.monotonic() + _CALM

    def _look(self) -> None:
        if self._loop is None:
            return
        self._handle = self._loop.call_later(TICK, self._look)
        now = time.monotonic()
        if self._asked or (self._calm_at < now < self._next and not self._news()):
            return
        self._asked = True
        self._next = now + _CALM
        self._app.call_later(self._run)

    def _run(self) -> None:
        self._asked = False
        if self._loop is not None:
            self._tick()
