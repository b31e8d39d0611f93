"""Makes ``import tui_capture`` work under pytest's importlib mode; the application over known traces."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from textual import events
from textual._compositor import Compositor
from textual.keys import _character_to_key, key_to_character
from textual.screen import Screen
from tui_capture import Capture, write_sources

from ktcpdump_tui.debuginfo.source import SourceFinder
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.tui.app import DebuggerApp
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.palette import DARK
from ktcpdump_tui.tui.status_bar import StatusBar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from textual.pilot import Pilot

#: Longest wait for a condition; reached only where a test fails.
PATIENCE = 20.0


@pytest.fixture(scope="session")
def source_tree(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Three packets, nothing lost."""
    path = tmp_path_factory.mktemp("trace") / "three.ktrace"
    capture = Capture(path)
    for _ in range(3):
        capture.packet()
    capture.close()
    return path


@pytest.fixture(scope="session")
def lossy(tmp_path_factory):
    """Four packets; before the third 12 events of CPU 1 are missing."""
    path = tmp_path_factory.mktemp("trace") / "lossy.ktrace"
    capture = Capture(path)
    capture.packet()
    capture.packet()
    capture.lose(1, 12)
    capture.packet()
    capture.packet()
    capture.close({"ring buffer full": 12})
    return path


class Driver:
    """Presses keys and waits until what they cause is on the screen."""

    def __init__(self, app: DebuggerApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    async def until(self, condition: Callable[[], object] = lambda: True, what: str = "") -> None:
        """Wait until nothing is going on any more and the condition holds."""
        deadline = time.monotonic() + PATIENCE
        quiet = 0
        while quiet < 2:
            await self.pilot.pause(0)
            quiet = quiet + 1 if self.idle and condition() else 0
            if time.monotonic() > deadline:
                pytest.fail(f"never came true: {what or condition}\n" + self.text())
            if not quiet:
                await asyncio.sleep(0.002)

    @property
    def idle(self) -> bool:
        """Whether no message waits and no thread owes the screen anything."""
        app = self.app
        app._tick()
        screen = app.screen
        if app.busy or getattr(screen, "busy", False):
            return False
        # A pane's size, what scrolls with it and what is drawn of it come with the screen's next frame.
        if screen._layout_required or screen._scroll_required or screen._repaint_required:
            return False
        if screen._dirty_widgets or screen._callbacks:
            return False
        pumps = [
            app,
            *(widget for screen in app.screen_stack for widget in screen.walk_children(with_self=True)),
        ]
        return not any(pump.message_queue_size for pump in pumps)

    async def press(self, *keys: str) -> None:
        """Press keys, waiting after each for its effect."""
        for key in keys:
            self.send(key)
            await self.until()

    def send(self, key: str) -> None:
        """Press a key and do not wait (Pilot.press waits until the processor is idle: tenths of a second)."""
        name = _character_to_key(key) if len(key) == 1 else key
        character = key if len(key) == 1 else key_to_character(key)
        self.app.post_message(events.Key(name, character))

    async def enter(self, text: str) -> None:
        """Type at the prompt that the first character opens."""
        await self.press(text[0])
        assert self.app.query_one("#prompt").display
        for char in text[1:]:
            self.send(char)
        await self.press("enter")
        assert not self.app.query_one("#prompt").display

    def text(self, selector: str | None = None) -> str:
        """Return what is on the screen, or in one widget, as text."""
        screen = self.app.screen
        lines = [strip.text for strip in screen._compositor.render_strips()]
        if selector is None:
            return "\n".join(lines)
        region = screen.query_one(selector).region
        return "\n".join(line[region.x : region.right] for line in lines[region.y : region.bottom])

    @property
    def told(self) -> str:
        """What the user is told, as it stands on the screen: a notice in the bottom line, or the banner."""
        banner, line = self.app.main.query_one(Banner), self.app.main.query_one(StatusBar)
        if banner.display:
            return self.text("#banner")
        assert banner.message == line.notice
        drawn = self.text("#status")
        assert line.notice in drawn
        return line.notice

    @property
    def no(self) -> int:
        """The event looked at."""
        return self.app.navigator.current

    @property
    def line(self) -> tuple[str, int]:
        """The source line shown as executed."""
        view = self.app.query_one("#source")
        return view.document.file, view.position


@pytest.fixture
def debugger(source_tree):
    """A function that runs the application over a trace: ``async with debugger(path) as driver``."""

    @contextlib.asynccontextmanager
    async def run(path, size=(100, 30), sources=None, theme=DARK, **options) -> AsyncIterator[Driver]:
        with Trace.open(path) as trace:
            finder = sources or SourceFinder([source_tree], release="6.12.0-demo", system=source_tree)
            app = DebuggerApp(trace, finder, theme=theme, **options)
            async with app.run_test(size=size) as pilot:
                driver = Driver(app, pilot)
                await driver.until()
                yield driver

    return run


@pytest.fixture
def layouts(monkeypatch):
    """A list that grows by what is laid out, or drawn as a whole."""
    found = []
    for cls, name in ((Screen, "_refresh_layout"), (Compositor, "render_full_update")):
        plain = getattr(cls, name)

        def watched(self, *arguments, plain=plain, name=name, **named):
            found.append(name)
            return plain(self, *arguments, **named)

        monkeypatch.setattr(cls, name, watched)
    return found
