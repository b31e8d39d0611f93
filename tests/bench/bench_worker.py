"""Worker thread: from a ring buffer of the kernel's memory layout to a stored trace, in events per second.

    python tests/bench/bench_worker.py [--events N] [TRACE.ktrace]

A producer in C fills the ring on one core as fast as it can, or at a given rate; the worker, as in a
capture, stores a trace on the other. Printed: the rate at which nothing is lost, the rate when flooded,
the ratio to copying the same bytes to a file, and the check that sent = stored + lost.
Rows are those of a recorded trace, so that they compress as real ones do.
"""

from __future__ import annotations

import argparse
import mmap
import re
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from ktcpdump_tui.capture.ring import RecordRing, RowRing
from ktcpdump_tui.capture.worker import Worker
from ktcpdump_tui.model import TraceHeader
from ktcpdump_tui.trace.layout import event_dtype
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

HERE = Path(__file__).parent
RING_BYTES = 16 << 20
STACK_BYTES = 256


def replica(path: Path, size: int) -> None:
    """Make a zeroed file with room for both pages and the data twice."""
    with path.open("wb") as file:
        file.truncate(2 * mmap.PAGESIZE + 2 * size)


def rows_of(trace: Path) -> np.ndarray:
    """Return the event rows of a recorded trace."""
    with Trace.open(trace) as opened:
        rows = opened.rows(1, len(opened))
        layout = event_dtype(opened.header.stack_bytes)
        plain = np.zeros(len(rows), layout)
        for name in layout.names or ():
            plain[name] = rows[name]
        return plain


def run(
    folder: Path, producer: Path, rows: np.ndarray, events: int, rate: int
) -> tuple[int, int, int, float, float]:
    """Return (sent, lost, stored, seconds, cpu seconds of the worker) of one run."""
    ring_file, notes_file, rows_file = folder / "ring", folder / "notes", folder / "rows"
    replica(ring_file, RING_BYTES)
    replica(notes_file, 1 << 16)
    rows.tofile(rows_file)
    sink = TraceWriter(folder / f"{rate}.ktrace")
    sink.write_header(
        TraceHeader("bench", "bench", "x86_64", None, (), 0, 0, 0, stack_bytes=rows.dtype["stack"].shape[0])
    )
    sink.write_plan([])
    with ring_file.open("r+b") as ring, notes_file.open("r+b") as notes:
        events_ring = RowRing(ring.fileno(), RING_BYTES, rows.dtype)
        worker = Worker(events_ring, RecordRing(notes.fileno(), 1 << 16), sink)
        begin = time.perf_counter()
        worker.start()
        cpu = time.process_time()
        output = subprocess.run(
            ["taskset", "-c", "0", producer, ring_file, str(RING_BYTES), rows_file]
            + [str(number) for number in (rows.itemsize, events, rate)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        worker.stop("end")
        worker.join()
        seconds = time.perf_counter() - begin
        cpu = time.process_time() - cpu
        sink.close(None)
        if worker.error:
            raise worker.error
    found = re.search(r"sent (\d+) lost (\d+)", output)
    assert found, output
    with Trace.open(folder / f"{rate}.ktrace") as trace:
        stored = len(trace)
    return int(found[1]), int(found[2]), stored, seconds, cpu


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trace", nargs="?", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if arguments.trace:
        rows = rows_of(arguments.trace)
    else:
        rows = np.zeros(5000, event_dtype(STACK_BYTES))
        random = np.random.default_rng(1)
        rows["insn"] = np.arange(5000) % 120
        rows["packet"] = np.arange(5000) // 120 + 1
        rows["ts"] = np.arange(5000) * 700
        rows["regs"] = random.integers(0, 1 << 40, (42, 18)).astype(np.uint64)[rows["packet"] % 42]
        rows["stack"] = random.integers(0, 255, (42, STACK_BYTES)).astype(np.uint8)[rows["packet"] % 42]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        producer = folder / "producer"
        subprocess.run(["gcc", "-O2", "-o", producer, HERE / "ring_producer.c"], check=True)
        begin = time.perf_counter()
        with (folder / "plain").open("wb") as plain:
            for _ in range(arguments.events // len(rows)):
                plain.write(rows.tobytes())
        copying = arguments.events / (time.perf_counter() - begin)
        for rate in (100_000, 200_000, 300_000, 0):
            sent, lost, stored, seconds, cpu = run(folder, producer, rows, arguments.events, rate)
            print(
                f"rate {rate or 'flood':>7}: sent {sent} lost {lost} stored {stored} "
                f"({'exact' if sent == stored + lost else 'NOT EXACT'}), "
                f"{stored / seconds:,.0f} events/s stored, {cpu / seconds:.0%} of a core, "
                f"{stored / seconds / copying:.2f} of copying the bytes to a file"
            )


if __name__ == "__main__":
    main()
