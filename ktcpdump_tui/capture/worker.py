"""The thread between the ring buffers and the trace: whole batches, no work per event."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.capture.ring import RecordRing, RowRing
    from ktcpdump_tui.trace.sink import TraceSink

#: Seconds between looks at empty rings. The kernel side never wakes us: a wake-up per event costs it more
#: than the event, and the rings hold far more than this time's worth.
IDLE: Final = 0.004

#: The longest of them, where nothing came for a while: 60 looks a second would take more of a core than the
#: idle screen does. At 500,000 events/s, the most that can be stored, this time's worth is 6 MB of the ring's
#: 16; at the 200,000 that are asked for, 2.3 MB.
IDLE_MOST: Final = 0.024

#: Seconds between commits while events keep coming, so that a screen that reads the trace stays live.
FLUSH_EVERY: Final = 0.05

#: Seconds between looks at the counts of what was lost.
COUNTS_EVERY: Final = 0.25


@dataclass(slots=True)
class WorkerCounts:
    """What the worker has moved. ``stored`` counts events written to the sink."""

    stored: int = 0
    batches: int = 0
    progress: dict[str, int] = field(default_factory=dict)


class Worker(threading.Thread):
    """Moves events and notes from the rings into a sink until told to stop, then drains what is left.

    ``limit`` stops it after that many events; ``watch`` is called about four times a second with the
    number of stored events and returns counts for the sink, or raises to end the capture. An exception
    in the thread is kept in ``error``; ``done`` is set when nothing more will be written.
    """

    def __init__(
        self,
        events: RowRing,
        notes: RecordRing,
        sink: TraceSink,
        *,
        limit: int | None = None,
        watch: Callable[[int], dict[str, int]] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name="capture-worker", daemon=True)
        self.counts = WorkerCounts()
        self.error: BaseException | None = None
        self.ended_by = ""
        self.done = threading.Event()
        self._stop_asked = threading.Event()
        self._events = events
        self._notes = notes
        self._sink = sink
        self._limit = limit
        self._watch = watch
        self._on_end = on_end

    def stop(self, why: str) -> None:
        """Ask the thread to drain and end; ``why`` is kept for the summary. The first reason stays."""
        if not self.ended_by:
            self.ended_by = why
        self._stop_asked.set()

    def run(self) -> None:
        """Move batches until stopped."""
        try:
            self._move()
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()
            if self._on_end is not None:
                self._on_end()

    def _move(self) -> None:
        flushed = counted = time.monotonic()
        dirty, idle = False, IDLE
        while True:
            stopping = self._stop_asked.is_set()
            moved = self._drain()
            dirty = dirty or moved > 0
            idle = IDLE if moved else min(2 * idle, IDLE_MOST)
            now = time.monotonic()
            if dirty and now - flushed >= FLUSH_EVERY:
                self._sink.flush()
                flushed, dirty = now, False
            if self._watch is not None and now - counted >= COUNTS_EVERY:
                counted = now
                self._report()
            if self._limit is not None and self.counts.stored >= self._limit:
                self.stop("events")
                break
            if moved == 0:
                if stopping:
                    break
                # It takes half of what waiting for _stop_asked does; who stops waits this much longer.
                time.sleep(idle)
        if self._watch is not None:
            self._report()
        self._sink.flush()

    def _drain(self) -> int:
        """Move what is there once; the number of events and note bytes moved.

        A state note is in its ring before any event that names it: reading the events first and then the
        notes, and writing them the other way round, keeps every event's state in front of it.
        """
        rows = self._events.read()
        notes = self._notes.read()
        if notes:
            self._sink.write_notes(notes)
        if len(rows):
            if self._limit is not None:
                rows = rows[: self._limit - self.counts.stored]
            self._sink.write_events(rows)
            self.counts.stored += len(rows)
            self.counts.batches += 1
        return len(rows) + len(notes)

    def _report(self) -> None:
        if self._watch is None:
            return
        progress = self._watch(self.counts.stored)
        if progress != self.counts.progress:
            self.counts.progress = progress
            self._sink.write_progress(progress)
