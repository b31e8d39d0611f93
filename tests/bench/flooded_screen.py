"""The screen over a capture of so many events a second, for bench_tui.py: flooded_screen.py TRACE RATE

The capture's own worker thread stores, in this process as in a real capture, what ring_producer.c puts into a
ring of the kernel's memory layout; only the kernel is missing. Packets and their states come with it. Rate 0
is a capture in which nothing happens.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from replicas import Replicas

from ktcpdump_tui.capture.ring import RowRing
from ktcpdump_tui.capture.worker import Worker
from ktcpdump_tui.commands.sources import sources_of
from ktcpdump_tui.trace.sink import GivingWay
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.tui.app import DebuggerApp
from ktcpdump_tui.tui.ports import CaptureState
from ktcpdump_tui.tui.run import run

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
RING_BYTES = 64 << 20
PAGES = 8192
#: More than anybody waits for.
SECONDS = 600


class Control:
    """A capture that goes on."""

    state = CaptureState.RUNNING
    error = record_error = None
    can_probe = False
    kept = Path("kept.ktrace")

    def __init__(self) -> None:
        self.wait_first: Callable[[], None] = lambda: None

    def give_way(self, wait: Callable[[], None]) -> None:
        """Call ``wait`` before anything is written, as a session's thread does."""
        self.wait_first = wait

    def stop(self) -> None:
        """Do nothing: the bench ends the program."""


class DueNotes:
    """The notes of the rounds that are due, as the ring of notes would have them."""

    def __init__(self, replicas: Replicas, rate: int) -> None:
        self._replicas, self._rate = replicas, rate
        self._began = time.monotonic()
        self._round = 0

    def read(self) -> bytes:
        """Return them, a round ahead of the events."""
        parts = []
        due = (time.monotonic() - self._began) * self._rate / len(self._replicas.base) + 2
        while self._rate and self._round < due:
            parts.append(self._replicas.notes_of(self._round))
            self._round += 1
        return b"".join(parts)


def main() -> None:
    """Run until ended."""
    source, rate = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as name, Trace.open(source) as recorded:
        folder = Path(name)
        ring_file, rows_file = folder / "ring", folder / "rows"
        replicas = Replicas(recorded)
        sink = replicas.begin(folder / "live.ktrace")
        with ring_file.open("wb") as file:
            file.truncate(PAGES + 2 * RING_BYTES)
        replicas.base.tofile(rows_file)
        producer = None
        if rate:
            program = folder / "producer"
            subprocess.run(["gcc", "-O2", "-o", program, HERE / "ring_producer.c"], check=True)
            row = replicas.base.itemsize
            numbers = (RING_BYTES, rows_file, row, rate * SECONDS, rate)
            steps = (replicas.span, replicas.packets, replicas.states)
            producer = subprocess.Popen(
                [program, ring_file, *map(str, numbers), *map(str, steps)], stdout=subprocess.DEVNULL
            )
        with ring_file.open("r+b") as ring:
            events = RowRing(ring.fileno(), RING_BYTES, replicas.base.dtype)
            control = Control()
            way = GivingWay(sink, lambda: control.wait_first())
            worker = Worker(events, DueNotes(replicas, rate), way)  # type: ignore[arg-type]
            worker.start()
            with Trace.open(sink.path) as trace:
                run(DebuggerApp(trace, sources_of([], trace), control=control))
            if producer is not None:
                producer.kill()
                producer.wait()
            worker.stop("end")
            worker.join()
            if worker.error:
                raise worker.error
            sink.close(None)


if __name__ == "__main__":
    main()
