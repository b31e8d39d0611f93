"""The trace store: events stored per second, bytes on disk, and a reader's time in ten million events.

The events are those of a real capture, each repetition as those of other packets (replayed.py). All limits
are on what the clock says, so the machine has to be quiet; a core's own time is shown beside it.

Run with: pytest -s tests/bench/bench_trace.py. KTCPDUMP_BENCH_EVENTS sets the size, KTCPDUMP_BENCH_TRACE the
recorded trace (of tests/data).
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest

from ktcpdump_tui.capture.filter.offline import OfflineFilter
from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.breakpoints import breakpoint_at, continue_to
from ktcpdump_tui.trace.criteria import Criteria
from ktcpdump_tui.trace.postfilter import PostFilter
from ktcpdump_tui.trace.stepping import Stepper
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter
from tests.bench.replayed import Replayed

EVENTS = int(os.environ.get("KTCPDUMP_BENCH_EVENTS", "10000000"))
NAME = os.environ.get("KTCPDUMP_BENCH_TRACE", "four-ways-6.12")
#: Seconds between the worker's commits (capture/worker.py).
FLUSH_EVERY = 0.05
#: Rows the worker takes from the ring at once, about.
AT_ONCE = 500


def say(text: str) -> None:
    print(f"\n    {text}", end="")


@pytest.fixture(scope="session")
def replayed() -> Replayed:
    return Replayed(NAME)


class Storing:
    """Stores what replayed captures give as the worker does, and keeps what that takes: clock and core, s."""

    def __init__(self, path: Path, replayed: Replayed) -> None:
        self.clock = self.core = 0.0
        self.raw = 0
        self.events = 0
        self._replayed = replayed
        self._writer = TraceWriter(path)
        replayed.begin(self._writer)
        self._flushed = 0.0

    def store(self, events: int) -> None:
        """Store this many events more."""
        until = self.events + events
        while self.events < until:
            notes, rows = self._replayed.batch(self.events // self._replayed.events)
            rows = rows[: until - self.events]
            clock, core = time.perf_counter(), time.process_time()
            self._writer.write_notes(notes)
            for at in range(0, len(rows), AT_ONCE):
                self._writer.write_events(rows[at : at + AT_ONCE])
                if self.clock + time.perf_counter() - clock - self._flushed >= FLUSH_EVERY:
                    self._flushed = self.clock + time.perf_counter() - clock
                    self._writer.flush()
            self.clock += time.perf_counter() - clock
            self.core += time.process_time() - core
            self.events += len(rows)
            self.raw += len(notes) + rows.nbytes

    def close(self) -> None:
        """Finish the trace."""
        clock, core = time.perf_counter(), time.process_time()
        self._writer.close(Summary(self.events, self.events // self._replayed.events, 0, 0, 0))
        self.clock += time.perf_counter() - clock
        self.core += time.process_time() - core


@pytest.fixture(scope="session")
def stored(replayed, tmp_path_factory) -> tuple[Path, float, float]:
    """A trace of ten million events; how many were stored per second, in all and in the slowest part."""
    path = tmp_path_factory.mktemp("large") / "a.ktrace"
    storing = Storing(path, replayed)
    rates = []
    while storing.events < EVENTS:
        before = storing.clock
        step = min(200_000, EVENTS - storing.events)
        storing.store(step)
        rates.append(step / (storing.clock - before))
    storing.close()
    clock, core = storing.events / storing.clock, storing.events / storing.core
    say(
        f"stored: {clock:,.0f} events/s by the clock, {core:,.0f} of one core; the slowest 200,000 at"
        f" {min(rates):,.0f}/s"
    )
    return path, clock, min(rates)


def test_storing_against_writing_the_same_bytes_to_a_file(replayed, tmp_path):
    storing = Storing(tmp_path / "a.ktrace", replayed)
    storing.store(400_000)
    storing.close()
    batches = [replayed.batch(number) for number in range(400_000 // replayed.events)]
    started = time.process_time()
    with (tmp_path / "raw").open("wb") as file:
        for notes, rows in batches:
            file.write(notes)
            for at in range(0, len(rows), AT_ONCE):
                file.write(rows[at : at + AT_ONCE].data)
    raw = (time.process_time() - started) / (len(batches) * replayed.events)
    size = (tmp_path / "a.ktrace").stat().st_size / storing.events
    say(
        f"storing costs {storing.core / storing.events / raw:.1f} x what writing the bytes costs, and packs"
        f" {storing.raw / storing.events:.0f} bytes into {size:.1f}"
    )
    assert size <= 64


def resident() -> float:
    """Memory of this process in MB (proc(5): statm counts pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def percentile(times: list[tuple[float, float]], what: str) -> float:
    """The 99th percentile in ms by the clock; a core's own time is shown beside it."""
    core, clock = (np.percentile(np.array(times) * 1000, 99, axis=0)).tolist()
    median = float(np.median(np.array(times) * 1000, axis=0)[1])
    say(f"{what}: median {median:.2f} ms, 99th percentile {clock:.2f} ms (of a core {core:.2f} ms)")
    return float(clock)


def measure(count: int, what) -> list[tuple[float, float]]:
    times = []
    for _ in range(count):
        started, clock = time.thread_time(), time.perf_counter()
        what()
        times.append((time.thread_time() - started, time.perf_counter() - clock))
    return times


#: One of each kind of post-filter; the expression selects half of the packets.
FILTERS = (
    "ip[5] < 128",
    "fn:ip_rcv_finish_core",
    "file:net/ipv4/ip_input.c cpu:1",
    "packet:7777",
    "is:changed",
    "netns:4026531840 ip[5] < 9",
    "is:dropped",
    "is:drop",
)


def filtered(trace: Trace, text: str) -> tuple[float, float]:
    """Seconds until a post-filter's first page of 100 rows was known, and until it was complete."""
    criteria = Criteria.parse(text)
    judge = OfflineFilter(criteria.expression).matches if criteria.expression else None
    started, core = time.perf_counter(), time.thread_time()
    view = PostFilter(trace, criteria, judge)
    view.scan(enough=100)
    first = time.perf_counter() - started
    view.scan()
    complete, core = time.perf_counter() - started, time.thread_time() - core
    say(
        f"post-filter {text}: {len(view):,} events, first page {first:.3f} s, all {complete:.2f} s"
        f" (of a core {core:.2f} s)"
    )
    assert len(view)
    # Where next to nothing is selected, the first page is all there is.
    return first if len(view) >= 100 else 0.0, complete


def test_reading_ten_million_events(stored):
    large = stored[0]
    size = large.stat().st_size / EVENTS
    before = resident()
    started = time.perf_counter()
    trace = Trace.open(large)
    trace.event(1)
    opened = time.perf_counter() - started
    say(f"{EVENTS:,} events, {size:.1f} bytes each on disk with packets; open to first event {opened:.2f} s")
    rng = random.Random(1)

    def anywhere() -> int:
        return rng.randint(1, EVENTS - 200)

    def page() -> None:
        no = anywhere()
        for state in np.unique(trace.heads(no, no + 99)["state"]).tolist():
            trace.state(int(state))

    stepper = Stepper(trace)
    slowest = {
        "jump to a page of 100 rows": page,
        "a whole event": lambda: trace.event(anywhere()),
        "stepi": lambda: stepper.stepi(anywhere()),
        "step": lambda: stepper.step(anywhere()),
        "next": lambda: stepper.next(anywhere()),
        "finish": lambda: stepper.finish(anywhere()),
        "reverse-stepi": lambda: stepper.stepi(anywhere(), reverse=True),
        "reverse-step": lambda: stepper.step(anywhere(), reverse=True),
        "reverse-next": lambda: stepper.next(anywhere(), reverse=True),
        "reverse-finish": lambda: stepper.finish(anywhere(), reverse=True),
        "next packet": lambda: trace.packet_start_after(anywhere()),
        "next drop": lambda: trace.drop_after(anywhere()),
    }
    times = {what: percentile(measure(400, how), what) for what, how in slowest.items()}
    filters = [filtered(trace, text) for text in FILTERS]
    stop = breakpoint_at(trace.plan, "ip_forward")
    percentile(measure(50, lambda: continue_to(trace, anywhere(), [stop])), "continue to a breakpoint")
    percentile(measure(20, trace.hits), "hits of every instruction")
    percentile(measure(20, trace.refresh), "refresh")
    memory = resident() - before
    say(f"memory: {memory:.0f} MB more than before opening")
    trace.close()
    assert size <= 64
    assert opened <= 0.5
    assert max(times.values()) <= 50, times
    assert max(first for first, _ in filters) <= 0.3
    assert max(complete for _, complete in filters) <= 5
    assert memory <= 250


def test_storing_is_sustained(stored):
    _, all_of_it, slowest = stored
    assert all_of_it >= 200_000
    assert slowest >= 200_000
