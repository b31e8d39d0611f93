"""stderr and signals, for all commands."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ktcpdump_tui.model import Summary

#: How a program in a lab begins a line of progress.
PROGRESS: Final = "progress: "
#: Columns of a bar of progress.
_BAR: Final = 20
#: Signals that end a capture in order.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stoppable(Protocol):
    """Something that ends when it is asked to."""

    def stop(self) -> None:
        """Ask for the end; returns at once."""


def say(text: str) -> None:
    """Print on stderr."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


class Console:
    """Says on stderr what is going on: progress in one line that vanishes, on a terminal only.

    ``piped`` makes it write progress as lines that a program outside a lab understands; ``verbose`` as lines
    with the seconds since the start.
    """

    def __init__(self, piped: bool = False, verbose: bool = False) -> None:
        self._piped = piped
        self._verbose = verbose
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._line = ""
        self.doing = ""
        #: Whether a screen has the terminal: what is said then is in its log, and nobody may have seen it.
        self.screen = False
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            self._erase()
            say(f"{self._elapsed()}{text}" if self._verbose and not self._piped else text)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:6.1f} s  "

    def progress(self, what: str, done: int, of: int) -> None:
        """Show what is being done, and how much of it (``of`` 0: unknown). From any thread."""
        with self._lock:
            self.doing = f"{what} {done}/{of}" if of else what
            if self._piped or self._verbose:
                if what != self._line:
                    self._line = what
                    say(f"{PROGRESS}{what}" if self._piped else f"{self._elapsed()}{what}")
            elif self._terminal:
                self._erase()
                self._line = f"{what} {_bar(done, of)} {done}/{of}" if of else what
                print(self._line, end="\r", file=sys.stderr, flush=True)  # noqa: T201

    def confirm(self, question: str, cancelled: Callable[[], bool]) -> bool:
        """Ask on the terminal, No being the default; False where there is none, and once ``cancelled``."""
        if self._piped or not self._terminal:
            return False
        with self._lock:
            self._erase()
            try:
                terminal = open("/dev/tty", "r+b", buffering=0)  # noqa: PTH123, SIM115
            except OSError:
                return False
            with terminal:
                terminal.write(f"{question} [y/N] ".encode())
                while not cancelled():
                    if select.select([terminal], [], [], 0.2)[0]:
                        return terminal.readline().strip().lower() in (b"y", b"yes")
        return False

    def progress_done(self) -> None:
        """Take the line of progress away."""
        with self._lock:
            self.doing = ""
            self._erase()

    def leave_terminal(self) -> None:
        """Draw no more progress: a screen has the terminal now, and shows ``doing``."""
        with self._lock:
            self._erase()
            self._terminal = False
            self.screen = True

    def _erase(self) -> None:
        if self._line and self._terminal and not self._piped and not self._verbose:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201 - ECMA-48: erase in line
        self._line = ""


@contextlib.contextmanager
def signals_stop(capture: Stoppable) -> Iterator[None]:
    """While the context lasts, the first Ctrl-C asks the capture to end; a second one ends the program."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {int(number): signal.getsignal(number) for number in _ENDING}

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, before[number])
        capture.stop()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def forget_stdout() -> None:
    """Let nothing complain about a stdout that nobody reads, at the exit neither."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def counts(summary: Summary) -> list[str]:
    """Return the lines a capture ends with, as tcpdump's do.

    >>> from ktcpdump_tui.model import Summary
    >>> counts(Summary(200, 2, 194, 189, 5))
    ['200 events captured', '2 packets', '194 probes: 189 attached, 5 refused', '0 events lost']
    """
    derived = f", and {summary.derived} made from them (clones, fragments ...)" if summary.derived else ""
    lines = [
        f"{_several(summary.events, 'event')} captured",
        f"{_several(summary.packets, 'packet')}{derived}",
        f"{_several(summary.probes_asked, 'probe')}: {summary.probes_attached} attached, "
        f"{summary.probes_refused} refused",
    ]
    lost = {cause.removeprefix("lost: "): number for cause, number in summary.lost.items() if number}
    lines += [f"{_several(number, 'event')} lost ({cause})" for cause, number in lost.items()]
    if not lost:
        lines.append("0 events lost")
    hints = {"packet": "-S keeps more bytes", "stack": "--stack keeps more bytes"}
    return lines + [
        f"{_several(number, 'event')} with a truncated {what}"
        + (f" ({hints[what]})" if what in hints else "")
        for what, number in summary.truncated.items()
        if number
    ]


def _bar(done: int, of: int) -> str:
    """Return ``[####....]``.

    >>> _bar(5, 10)
    '[##########..........]'
    """
    full = _BAR * done // of
    return f"[{'#' * full}{'.' * (_BAR - full)}]"


def _several(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
