"""Runs the application so that the terminal is restored and nothing writes across the screen."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import signal
import sys
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.tui.descriptor import DivertedStderr
from ktcpdump_tui.tui.terminal import restored_terminal

if TYPE_CHECKING:
    from ktcpdump_tui.tui.app import DebuggerApp

#: Asked to end from outside: the screen is left in order.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

#: malloc.h.
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

#: Seconds after which a thread at work lets the one go on that draws (5 ms by default, at each of its waits).
_SWITCH: Final = 0.0005

#: Collections of the middle generation before one of all objects (gc.set_threshold).
_NEVER: Final = 1 << 30

#: Lines of standard error shown after an end that was not in order.
_LAST_LINES: Final = 20


def run(app: DebuggerApp) -> int:
    """Run the application until the user quits; returns the exit status (128 + signal where one ended it).

    While it runs, what is written on descriptor 2 is kept for the log screen. After an error
    the last of it is written where it was meant to go.
    """
    log = DivertedStderr()
    app.stderr_log = log
    app.when_painted = _collect_again
    give_memory_back()
    sys.setswitchinterval(_SWITCH)
    try:
        with restored_terminal(), log:
            status = asyncio.run(_run(app))
    except BaseException:
        sys.stderr.writelines(f"{line}\n" for line in log.lines(_LAST_LINES))
        raise
    if app.return_code:
        sys.stderr.writelines(f"{line}\n" for line in log.lines(_LAST_LINES))
        return app.return_code
    return status


def without_collecting() -> None:
    """Have no garbage collected until the first picture is there: imports make none, and many objects."""
    gc.disable()


def give_memory_back() -> None:
    """Have what is freed go back to the system: blocks of a trace are a megabyte, and many threads read some.

    glibc keeps an arena for each thread, and after the first large block that is freed it takes the next ones
    from there too (mallopt(3): M_ARENA_MAX, M_MMAP_THRESHOLD). Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, 1 << 18)


def _collect_again() -> None:
    """Collect garbage, but not among what stays as long as the program does (later.py: modules do too).

    All objects at once are gone through where no key waits for it (BaseApp): that takes up to 50 ms.
    """
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _NEVER)
    gc.enable()


async def _run(app: DebuggerApp) -> int:
    loop = asyncio.get_running_loop()

    def end(number: int) -> None:
        app.exit(0 if number == signal.SIGINT else 128 + number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, end, number)
    try:
        result = await app.run_async(mouse=app.settings.mouse)
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return result if result is not None else 0
