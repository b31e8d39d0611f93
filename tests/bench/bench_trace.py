"""The trace store: events stored per second, bytes on disk, and a reader's time in ten million events.

Registers and stacks are those of a real program that is single-stepped (step_rows.c); the other fields are a
capture's on two CPUs. Limits are on a core's time, as other programs share the machine.

Run with: pytest -s tests/bench/bench_trace.py. KTCPDUMP_BENCH_EVENTS sets the size.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "trace"))
import synthetic_trace as made

from ktcpdump_tui.capture.filter.offline import OfflineFilter
from ktcpdump_tui.model import Flow, Instruction, SourceLine, Summary
from ktcpdump_tui.trace.breakpoints import breakpoint_at, continue_to
from ktcpdump_tui.trace.codec import HEAD
from ktcpdump_tui.trace.criteria import Criteria
from ktcpdump_tui.trace.layout import event_dtype
from ktcpdump_tui.trace.postfilter import PostFilter
from ktcpdump_tui.trace.stepping import Stepper
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

EVENTS = int(os.environ.get("KTCPDUMP_BENCH_EVENTS", "10000000"))
PER_PACKET = 115  # what one packet executes in ip_rcv_core (FACTS)
SAMPLE = 200 * PER_PACKET * 4


def say(text: str) -> None:
    print(f"\n    {text}", end="")


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> np.ndarray:
    """Rows of 800 packets with real registers and stacks."""
    program = tmp_path_factory.mktemp("step") / "step_rows"
    subprocess.run(["gcc", "-O2", "-o", program, Path(__file__).with_name("step_rows.c")], check=True)
    command = [program, str(SAMPLE), "200000", sys.executable, "-c", "import json; json.dumps([1, 'a'])"]
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    bodies = np.frombuffer(out, "u1").reshape(-1, 400)
    rows = np.zeros(len(bodies), event_dtype(256))
    rows.view("u1").reshape(len(rows), -1)[:, HEAD.itemsize :] = bodies
    rip = rows["regs"][:, 16]
    rows["insn"] = np.unique(rip, return_inverse=True)[1] % 4000
    rows["cfa"] = 0xFFFFC90000003000 + (rows["regs"][:, 7] & 0x7F8)
    rows["comm"], rows["pid"] = b"swapper/1", 0
    return rows


def plan() -> list[Instruction]:
    """Forty functions of a hundred instructions, three to a line."""
    made_of = []
    for number in range(4000):
        function, offset = divmod(number, 100)
        flow = Flow.RETURN if offset == 99 else Flow.NEXT
        line = SourceLine(f"net/f{function}.c", number // 3 + 1)
        address = 0xFFFFFFFF81000000 + 4 * number
        made_of.append(
            Instruction(number, address, f"f{function}", 4 * offset, code=b"\x90" * 4, flow=flow, source=line)
        )
    return made_of


def later(rows: np.ndarray, done: int) -> np.ndarray:
    """The sample once more, as other packets at another time on two CPUs."""
    again = rows.copy()
    at = np.arange(done, done + len(rows), dtype="<u8")
    again["ts"] = 10**12 + at * 900 + at * 2654435761 % 211
    again["cpu"] = at // 37 % 2
    for cpu in (0, 1):
        here = np.flatnonzero(again["cpu"] == cpu)
        again["seq"][here] = np.arange(len(here)) + 1 + done // 2
    again["packet"] = at // PER_PACKET + 1
    again["state"] = 2 * again["packet"] + (at % PER_PACKET > 60)
    again["skb"] = 0xFFFF888100000000 + at // PER_PACKET % 64 * 256
    return again


def states(rows: np.ndarray, noise: np.random.Generator) -> bytes:
    parts = []
    for packet in np.unique(rows["packet"]).tolist():
        data = b"\x45" + noise.bytes(83)
        parts.append(made.birth(packet, packet))
        parts += [made.state(2 * packet + change, packet, data, mark=change) for change in (0, 1)]
        parts.append(made.free(packet, packet, dropped=packet % 100 == 0))
    return b"".join(parts)


def test_storing_against_writing_the_same_bytes_to_a_file(sample, tmp_path):
    parts = [later(sample, done) for done in range(0, 8 * len(sample), len(sample))]
    events = sum(map(len, parts))
    started = time.process_time()
    with (tmp_path / "raw").open("wb") as file:
        for part in parts:
            for at in range(0, len(part), 500):
                file.write(part[at : at + 500].data)
    raw = time.process_time() - started
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer.write_header(made.header())
    writer.write_plan(plan())
    started = time.process_time()
    for part in parts:
        for at in range(0, len(part), 500):
            writer.write_events(part[at : at + 500])
    writer.flush()
    stored = time.process_time() - started
    writer.close(Summary(events, 0, 0, 0, 0))
    size = (tmp_path / "a.ktrace").stat().st_size / events
    say(f"stored: {events / stored:,.0f} events per second of one core, {size:.1f} bytes per event")
    say(f"raw file: {events / raw:,.0f} events per second; storing costs {stored / raw:.1f} x as much")
    assert events / stored >= 200_000
    assert size <= 64


@pytest.fixture(scope="session")
def large(sample, tmp_path_factory) -> Path:
    """A trace of ten million events."""
    path = tmp_path_factory.mktemp("large") / "a.ktrace"
    noise = np.random.default_rng(1)
    writer = TraceWriter(path)
    writer.write_header(made.header())
    writer.write_plan(plan())
    for done in range(0, EVENTS, len(sample)):
        rows = later(sample, done)[: EVENTS - done]
        writer.write_notes(states(rows, noise))
        writer.write_events(rows)
    writer.close(Summary(EVENTS, EVENTS // PER_PACKET, 0, 0, 0))
    return path


def resident() -> float:
    """Memory of this process in MB (proc(5): statm counts pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def percentile(times: list[tuple[float, float]], what: str) -> float:
    """The 99th percentile in ms of a core's time; what the clock said is shown beside it."""
    value, clock = (np.percentile(np.array(times) * 1000, 99, axis=0)).tolist()
    median = float(np.median(np.array(times) * 1000, axis=0)[0])
    say(f"{what}: median {median:.2f} ms, 99th percentile {value:.2f} ms (by the clock {clock:.2f} ms)")
    return float(value)


def measure(count: int, what) -> list[tuple[float, float]]:
    times = []
    for _ in range(count):
        started, clock = time.thread_time(), time.perf_counter()
        what()
        times.append((time.thread_time() - started, time.perf_counter() - clock))
    return times


#: One of each kind of post-filter; the expression selects half of the packets.
FILTERS = (
    "ip[1] < 128",
    "fn:f0",
    "file:f0.c:4-9 cpu:1",
    "packet:77777",
    "is:changed",
    "netns:4026531840 ip[1] < 9",
    "is:dropped",
    "is:drop",
)


def filtered(trace: Trace, text: str) -> tuple[float, float]:
    """Seconds of a core until a post-filter's first page of 100 rows was known, and until it was complete."""
    criteria = Criteria.parse(text)
    judge = OfflineFilter(criteria.expression).matches if criteria.expression else None
    started = time.thread_time()
    view = PostFilter(trace, criteria, judge)
    view.scan(enough=100)
    first = time.thread_time() - started
    view.scan()
    complete = time.thread_time() - started
    say(f"post-filter {text}: {len(view):,} events, first page {first:.3f} s, all {complete:.2f} s")
    # Where next to nothing is selected, the first page is all there is.
    return first if len(view) >= 100 else 0.0, complete


def test_reading_ten_million_events(large):
    size = large.stat().st_size / EVENTS
    before = resident()
    started = time.thread_time()
    trace = Trace.open(large)
    trace.event(1)
    opened = time.thread_time() - started
    say(f"{EVENTS:,} events, {size:.1f} bytes each on disk with packets; open to first event {opened:.2f} s")
    rng = random.Random(1)

    def anywhere() -> int:
        return rng.randint(1, EVENTS - 200)

    def page() -> None:
        no = anywhere()
        for state in np.unique(trace.heads(no, no + 99)["state"]).tolist():
            trace.state(int(state))

    stepper = Stepper(trace)
    slowest = [
        percentile(measure(300, page), "jump to a page of 100 rows"),
        percentile(measure(300, lambda: trace.event(anywhere())), "a whole event"),
        percentile(measure(300, lambda: stepper.stepi(anywhere())), "stepi"),
        percentile(measure(300, lambda: stepper.step(anywhere())), "step"),
        percentile(measure(300, lambda: stepper.next(anywhere())), "next"),
        percentile(measure(300, lambda: stepper.finish(anywhere())), "finish"),
        percentile(measure(300, lambda: stepper.step(anywhere(), reverse=True)), "reverse-step"),
        percentile(measure(300, lambda: stepper.next(anywhere(), reverse=True)), "reverse-next"),
        percentile(measure(300, lambda: stepper.finish(anywhere(), reverse=True)), "reverse-finish"),
    ]
    stop = breakpoint_at(trace.plan, "f1+8")
    percentile(measure(50, lambda: continue_to(trace, anywhere(), [stop])), "continue to a breakpoint")
    filters = [filtered(trace, text) for text in FILTERS]
    percentile(measure(20, trace.hits), "hits of every instruction")
    percentile(measure(20, trace.refresh), "refresh")
    memory = resident() - before
    say(f"memory: {memory:.0f} MB more than before opening")
    trace.close()
    assert opened <= 0.5
    assert max(slowest) <= 40
    assert max(first for first, _ in filters) <= 0.3
    assert max(complete for _, complete in filters) <= 5
    assert memory <= 250
