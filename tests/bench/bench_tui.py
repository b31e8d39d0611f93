"""How fast the screen is over a long trace, and while events pour in.

    python tests/bench/bench_tui.py [EVENTS]

The trace list is drawn by the real application (headless); nothing is mocked. Figures are milliseconds of
the interface's thread, and ratios to the same work over a short trace in the same run.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tui"))

from tui_capture import PER_PACKET, Capture, skb_of, write_sources

from ktcpdump_tui.debuginfo.source import SourceFinder
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.tui.app import DebuggerApp
from ktcpdump_tui.tui.palette import DARK
from ktcpdump_tui.tui.ports import CaptureState

JUMPS = 60
RATE = 90_000
SECONDS = 6.0


class Flood:
    """Writes the events of many packets without their notes, whole blocks at a time."""

    def __init__(self, path: Path) -> None:
        self.capture = Capture(path)
        self.capture.packet()
        with Trace.open(path) as trace:
            self.one = trace.rows(1, PER_PACKET)
        self.packets = 1
        self.seq = 0

    def write(self, packets: int) -> None:
        """Write this many packets' events."""
        rows = np.tile(self.one, packets)
        ids = np.arange(self.packets + 1, self.packets + packets + 1, dtype="<u4")
        rows["packet"] = np.repeat(ids, PER_PACKET)
        rows["skb"] = skb_of(0) + rows["packet"].astype("<u8") * 256
        rows["seq"] = np.arange(len(rows)) + self.seq + PER_PACKET + 1
        rows["ts"] = 2_000_000_000 + (np.arange(len(rows)) + self.seq) * 1500
        self.packets += packets
        self.seq += len(rows)
        self.capture.writer.write_events(rows)

    @property
    def events(self) -> int:
        """Events written."""
        return self.seq + PER_PACKET


class Control:
    """A capture that goes on."""

    state = CaptureState.RUNNING
    error = record_error = None
    can_probe = False
    kept = Path("kept.ktrace")

    def stop(self) -> None:
        """Do nothing: the bench stops it."""


async def settled(app: DebuggerApp, pilot: object) -> None:
    """Wait until the event asked for is drawn with all that belongs to it."""
    while True:
        await pilot.pause(0)  # type: ignore[attr-defined]
        if not (app.decoding.busy or app.loading.busy or app.stepping.busy):
            return
        await asyncio.sleep(0.001)


async def jumps(path: Path, sources: SourceFinder) -> dict[str, list[float]]:
    """Return ms per jump anywhere: the call, until drawn, until the inspector is filled, processor time."""
    times: dict[str, list[float]] = {"work": [], "drawn": [], "inspector": [], "processor": []}
    with Trace.open(path) as trace:
        app = DebuggerApp(trace, sources, theme=DARK)
        async with app.run_test(size=(200, 60)) as pilot:
            await settled(app, pilot)
            places = random.Random(1)
            for _ in range(JUMPS):
                no = places.randint(1, len(trace))
                start, processor = time.perf_counter(), time.thread_time()
                app.go(no)
                times["work"].append(1e3 * (time.perf_counter() - start))
                await pilot.pause(0)
                times["drawn"].append(1e3 * (time.perf_counter() - start))
                await settled(app, pilot)
                times["inspector"].append(1e3 * (time.perf_counter() - start))
                times["processor"].append(1e3 * (time.thread_time() - processor))
    return times


async def flood(folder: Path, sources: SourceFinder, rate: int) -> tuple[list[float], float, float]:
    """Return how late the loop is (ms) at ``rate`` events/s, the rate reached, and the loop's load."""
    made = Flood(folder / f"live-{rate}.ktrace")
    made.capture.writer.flush()
    stop = threading.Event()

    def produce() -> None:
        packets, due = max(1, rate // PER_PACKET // 100), time.monotonic()
        while not stop.is_set():
            if rate:
                made.write(packets)
            made.capture.writer.flush()
            due += 0.01
            time.sleep(max(0.0, due - time.monotonic()))

    late = []
    with Trace.open(made.capture.writer.path) as trace:
        app = DebuggerApp(trace, sources, control=Control(), theme=DARK)
        async with app.run_test(size=(200, 60)) as pilot:
            await settled(app, pilot)
            producer = threading.Thread(target=produce, name="producer")
            began, first, processor = time.monotonic(), made.events, time.thread_time()
            producer.start()
            while time.monotonic() - began < SECONDS:
                start = time.perf_counter()
                await asyncio.sleep(0.005)
                late.append(1e3 * (time.perf_counter() - start) - 5)
            reached = (made.events - first) / (time.monotonic() - began)
            load = (time.thread_time() - processor) / (time.monotonic() - began)
            stop.set()
            producer.join()
    made.capture.close()
    return late, reached, load


def percentiles(values: list[float]) -> str:
    """Return median, 95th and 99th percentile, and maximum."""
    cuts = statistics.quantiles(values, n=100)
    return f"median {cuts[49]:6.1f}   p95 {cuts[94]:6.1f}   p99 {cuts[98]:6.1f}   max {max(values):6.1f} ms"


async def main() -> None:
    """Measure and print."""
    events = int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = write_sources(folder / "source")
        sources = SourceFinder([tree], release="6.12.0-demo", system=tree)
        results = {}
        for count in (10_000, events):
            path = folder / f"{count}.ktrace"
            made = Flood(path)
            while made.events < count:
                made.write(min(20_000, (count - made.events) // PER_PACKET + 1))
            made.capture.close()
            start = time.perf_counter()
            with Trace.open(path) as trace:
                opened = 1e3 * (time.perf_counter() - start)
                size = path.stat().st_size
                print(f"{len(trace):,} events, {size / 1e6:,.0f} MB, opened in {opened:.0f} ms")
            results[count] = await jumps(path, sources)
            for what, values in results[count].items():
                print(f"  jump, {what:<9}  {percentiles(values)}")
        for what in results[events]:
            ratio = statistics.median(results[events][what]) / statistics.median(results[10_000][what])
            print(f"  jump, {what:<9}  {ratio:.2f} x that over 10,000 events")
        for rate in (0, RATE):
            late, reached, load = await flood(folder, sources, rate)
            print(f"{reached:,.0f} events/s coming in: load {load:.0%}, loop late by  {percentiles(late)}")


if __name__ == "__main__":
    asyncio.run(main())
