"""Source lines of thousands of entries, looked up while the capture runs: first of those that were hit."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace import blobs
from ktcpdump_tui.trace.sink import PassingSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ktcpdump_tui.trace.sink import TraceSink

#: Entries that nobody waits for are looked up so many at a time: a hit waits for no more than these.
_AT_A_TIME: Final = 64
#: The plan is written anew after so many of them: each time all of it is, and each reader reads it again.
_AT_ONCE: Final = 512


class HitTap(PassingSink):
    """Passes everything on to ``sink``; ``hit`` are the indices of the instructions with events so far.

    Nobody asks any more once ``done`` is set.
    """

    def __init__(self, sink: TraceSink, event: np.dtype[Any]) -> None:
        super().__init__(sink)
        self.hit: set[int] = set()
        self.done = False
        self._event = event

    def write_events(self, rows: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Remember the instructions, and pass on."""
        if not self.done:
            table = rows if isinstance(rows, np.ndarray) else np.frombuffer(rows, self._event)
            self.hit.update(distinct(table["insn"]).tolist())
        super().write_events(rows)


class LaterLines:
    """Looks up the lines of the instructions ``wanted`` (indices) in a thread of its own.

    ``look_up`` is given indices and puts their lines into the plan, which ``write`` then writes. The blob
    LINES_PENDING of ``sink`` says which lines are still to come. UserError of ``look_up`` ends it, and is in
    ``error``.
    """

    def __init__(
        self,
        wanted: Iterable[int],
        tap: HitTap,
        sink: TraceSink,
        look_up: Callable[[list[int]], None],
        write: Callable[[], None],
    ) -> None:
        self.error: UserError | None = None
        self._pending = dict.fromkeys(sorted(wanted))
        self._tap = tap
        self._sink = sink
        self._look_up, self._write = look_up, write
        self._unwritten: list[int] = []
        self._only_hit = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture-lines", daemon=True)
        self._tell()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Wait for the lines of what was hit; the others are given up."""
        self._only_hit.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            while some := self._next():
                self._look_up(some)
                self._unwritten += some
                if len(self._unwritten) >= _AT_ONCE or not self._tap.hit.isdisjoint(self._unwritten):
                    self._publish()
        except UserError as error:
            self.error = error
        self._publish()
        self._tap.done = True
        self._pending.clear()
        self._tell()

    def _publish(self) -> None:
        if self._unwritten:
            self._write()
            for index in self._unwritten:
                del self._pending[index]
            self._unwritten = []
            self._tell()

    def _next(self) -> list[int]:
        """Return what is looked up next, nothing at the end."""
        # Asked first: what was hit until then is in ``hit``.
        ending = self._only_hit.is_set()
        known = set(self._unwritten)
        left = [index for index in self._pending if index not in known]
        if some := [index for index in left if index in self._tap.hit]:
            return some
        return [] if ending else left[:_AT_A_TIME]

    def _tell(self) -> None:
        self._sink.put_blob(blobs.LINES_PENDING, json.dumps(list(self._pending)).encode())
