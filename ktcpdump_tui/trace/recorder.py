"""Keeps a trace that is still being written: a second file that follows it to its end."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace import blobs
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.whereabouts import Whereabouts

#: Seconds between looks at the trace: what a crash of the machine may cost, beside the trace's own.
LOOK_EVERY: Final = 0.1
#: Events copied at once.
BATCH: Final = 4096


class Recorder(threading.Thread):
    """Copies the trace at ``source`` to ``path``, and what is added to it, until it ends.

    What fails here (a full disk) does not touch the capture: ``error`` says what it was, and what was
    recorded until then stays readable. ``ended`` tells whether the capture is over, so that a trace without
    a summary is not waited for. ``finish`` waits for the last event and returns how many there are.
    """

    def __init__(self, source: Path | Whereabouts, path: Path, ended: Callable[[], bool]) -> None:
        super().__init__(name="recorder", daemon=True)
        self.path = path
        self.error: BaseException | None = None
        self.events = 0
        self._source = source
        self._capture_ended = ended
        self._writer = TraceWriter(path)
        self._place = (0, 0)
        self._plan: Sequence[Instruction] = ()
        self._blobs: dict[str, bytes | None] = {}
        self._base: dict[int, int] = {}
        self._whole = True

    def run(self) -> None:
        """Follow the trace."""
        try:
            with Trace.open(self._source) as trace:
                self._writer.write_header(trace.header)
                self.events = trace.first_no - 1
                self._whole = trace.first_no == 1
                while True:
                    over = self._capture_ended()  # before the look: what comes in between is seen
                    trace.refresh()
                    self._copy(trace)
                    if trace.finished or over:
                        break
                    time.sleep(LOOK_EVERY)
            self._writer.close(trace.summary)
        except BaseException as error:
            self.error = error
            with contextlib.suppress(UserError):
                self._writer.close(None)

    def finish(self) -> int:
        """Wait until all is copied; return the number of events. Raises what went wrong."""
        self.join()
        if self.error is not None:
            raise self.error
        return self._writer.events

    def _copy(self, trace: Trace) -> None:
        """Copy what is new: what events refer to before the events."""
        writer = self._writer
        for name in trace.blob_names():
            # the only ones that are written more than once are the names of where packets end
            if name not in self._blobs or name == blobs.SYMBOLS:
                data = trace.blob(name)
                if data is not None and data != self._blobs.get(name):
                    self._blobs[name] = data if name == blobs.SYMBOLS else b""
                    writer.put_blob(name, data)
        if trace.plan is not self._plan:
            self._plan = trace.plan
            writer.write_plan(list(trace.plan))
        for block, size, data in trace.raw_notes(*self._place):
            writer.write_notes(data)
            self._place = (block, size)
        first = max(self.events + 1, trace.first_no)
        for start in range(first, len(trace) + 1, BATCH):
            rows = trace.rows(start, min(start + BATCH - 1, len(trace)))
            writer.write_events(self._based(rows))
            self.events = start + len(rows) - 1
        writer.write_progress(trace.counts())
        writer.flush()

    def _based(self, rows: Array) -> Array:
        """Let each CPU's numbers begin with 1, where the events before were removed by --max-size."""
        if self._whole:
            return rows
        rows = rows.copy()
        for cpu in distinct(rows["cpu"]).tolist():
            of_cpu = rows["cpu"] == cpu
            base = self._base.setdefault(cpu, max(int(rows["seq"][of_cpu].min()) - 1, 0))
            rows["seq"][of_cpu] -= np.uint64(base)
        return rows
