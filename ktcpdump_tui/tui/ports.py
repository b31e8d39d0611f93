"""What the interface needs from the rest, so that it knows neither files nor the kernel."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from ktcpdump_tui.debuginfo.source import Missing, SourceText


class SourceProvider(Protocol):
    """Finds source text (debuginfo.source.SourceFinder)."""

    def find(self, file: str) -> SourceText | Missing:
        """Return the text of a file as a line table names it; may take seconds. From any thread."""
        ...


class CaptureState(enum.StrEnum):
    """How far a live capture is."""

    STARTING = "starting"
    RUNNING = "live"
    STOPPING = "stopping"
    ENDED = "ended"


class CaptureControl(Protocol):
    """A capture that is going on in another thread or process. All of it may be called from any thread."""

    @property
    def state(self) -> CaptureState:
        """How far it is."""
        ...

    @property
    def error(self) -> BaseException | None:
        """What ended it, if it was an error."""
        ...

    def stop(self) -> None:
        """Ask it to end. Returns at once; may be called again."""
        ...

    def give_way(self, wait: Callable[[], None]) -> None:
        """Have its thread call ``wait`` before it writes: the screen answers a key first."""
        ...

    @property
    def can_probe(self) -> bool:
        """Whether probes can be added and removed now."""
        ...

    @property
    def doing(self) -> str:
        """What it is at now, such as "defining probes 16/200"; empty where there is nothing to tell."""
        ...

    @property
    def kept(self) -> Path | None:
        """The file that has, or will have, the whole trace; None where it is deleted at the end."""
        ...

    @property
    def record_error(self) -> BaseException | None:
        """Why nothing is recorded into that file any more."""
        ...

    def record(self, path: Path) -> None:
        """Keep the trace in ``path``: what it has, and what is still to come. Returns at once.

        Raises UserError where the trace is kept already, or cannot be.
        """
        ...

    def probe(self, spec: str) -> Future[str]:
        """Ask for the probes of ``spec`` (as -i takes it) while the capture goes on. Returns at once.

        The result says what was done ("ip_rcv_core: 57 probes attached, 2 refused"). The exception is a
        UserError, and the capture is as it was.
        """
        ...

    def unprobe(self, spec: str) -> Future[str]:
        """Ask for the end of the probes that ``spec`` asks for; as ``probe``. Their events stay."""
        ...


class Log(Protocol):
    """Lines that were written on descriptor 2 meanwhile."""

    @property
    def count(self) -> int:
        """Lines so far."""
        ...

    def lines(self, last: int = ...) -> list[str]:
        """Return the last lines, oldest first."""
        ...
