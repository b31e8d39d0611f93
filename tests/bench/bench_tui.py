"""The screen as its user meets it: the program in a terminal of our own, keys in, whole frames out.

    python tests/bench/bench_tui.py [--events N] [--keys N] [--long TRACE] [PART]...

PARTs: start, long, flood, idle (all where none is named). Beside each figure stands the same of the least
Textual application there is (floor_app.py), measured in the same run: on a busy machine only the ratio says
something. ``--long`` keeps the long trace for the next run. The asked-for limits are issue 6's.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pty_program import PtyProgram
from replicas import long_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
TRACE = HERE.parent / "data" / "four-ways-6.12.ktrace"
SIZE = (120, 40)
RATE = 100_000
SECTIONS = ("Packet", "skb", "Regs", "Vars", "Watch", "Fate", "Stack")
_POSITION = re.compile(r" ([\d,]+)/[\d,]+ +\d+%")

#: The keys that are pressed, and what is entered before: a breakpoint for c, and steps that go on in the
#: packet that comes next, so that each of them leads somewhere.
KEYS = ("j", "k", "\x1b[6~", "\x1b[5~", "s", "n", "c", "/", "1", "2", "3", "4", "5", "6", "7")
NAMES = {"\x1b[6~": "page down", "\x1b[5~": "page up"}
SETTING = (":b ip_rcv_core\r", ":across\r")


def program(*arguments: str) -> list[str]:
    """Return the command that runs this program."""
    return [sys.executable, "-m", "ktcpdump_tui", *arguments]


def floor_program() -> list[str]:
    """Return the command of the least there is."""
    return [sys.executable, str(HERE / "floor_app.py")]


def percentile(values: Sequence[float], share: int) -> float:
    """Return a percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def told(values: Sequence[float]) -> str:
    """Return median, 99th percentile and maximum in ms."""
    return f"p50 {percentile(values, 50):6.1f}  p99 {percentile(values, 99):6.1f}  max {max(values):6.1f} ms"


def position(text: str) -> int | None:
    """Return the event looked at, where a frame has the status line."""
    found = _POSITION.search(text)
    return int(found[1].replace(",", "")) if found else None


class Hands:
    """Types at the program and measures."""

    def __init__(self, screen: PtyProgram) -> None:
        self.screen = screen
        self.at = 0

    def measure(self, key: str, wanted: Callable[[str], object]) -> float:
        """Return ms from a key until what it asks for is drawn."""
        since = len(self.screen.frames)
        start = self.screen.send(key)
        frame = self.screen.frame(wanted, since)
        self.at = position(frame.text) or self.at
        return 1e3 * (frame.at - start)

    def go(self, no: int) -> None:
        """Go to an event."""
        if no != self.at:
            self.measure(f":{no}\r", lambda text: position(text) == no)

    def press(self, key: str) -> float:
        """Press a key as ``measure`` does."""
        if key == "/":
            taken = self.measure(key, lambda text: "regular expression" in text)
            self.screen.send("\x1b")
            time.sleep(0.4)  # a lone Esc is told from the beginning of a key by the time that passes
            return taken
        if key.isdigit():
            title = re.compile(rf"[\[|]{key} ?{SECTIONS[int(key) - 1]}")
            return self.measure(key, title.search)
        before = self.at
        return self.measure(key, lambda text: position(text) not in (None, before))


def floor_keys(count: int) -> list[float]:
    """Return ms per key of the least application."""
    screen = PtyProgram(floor_program(), SIZE)
    screen.frame(lambda text: "REPLAY" in text)
    screen.quiet()
    taken = []
    for number in range(1, count + 1):
        since = len(screen.frames)
        start = screen.send("x")
        taken.append(1e3 * (screen.frame(lambda text: str(number) in text, since).at - start))  # noqa: B023
        time.sleep(random.uniform(0.01, 0.05))
    screen.close()
    return taken


def keys(screen: PtyProgram, events: Callable[[], int], count: int, floor: Sequence[float]) -> None:
    """Measure each key at random places, and print."""
    hands, places = Hands(screen), random.Random(1)
    for entered in SETTING:
        screen.send(entered)
        time.sleep(1)
    each: dict[str, list[float]] = {key: [] for key in KEYS}
    for _ in range(count):
        screen.send("v")  # without the inspector the list has the keyboard
        time.sleep(0.5)
        screen.send("v")
        time.sleep(0.5)
        for key in KEYS:
            hands.go(places.randint(events() // 10, events() * 9 // 10))
            time.sleep(places.uniform(0.1, 0.2))  # what belongs to the jump comes in meanwhile
            each[key].append(hands.press(key))
            time.sleep(places.uniform(0.02, 0.1))
    for key, taken in each.items():
        print(f"  {NAMES.get(key, key):<10} {told(taken)}")
    whole = [one for taken in each.values() for one in taken]
    ratio = percentile(whole, 99) / percentile(floor, 99)
    print(
        f"  all {len(whole)} keys  {told(whole)} (asked: p99 50); {ratio:.1f} x the floor's p99", flush=True
    )


def part_start(runs: int) -> None:
    """Print the time from the start to the first whole frame."""
    taken: dict[str, list[float]] = {"floor": [], "ours": []}
    cpu: dict[str, list[float]] = {"floor": [], "ours": []}
    commands = {"floor": floor_program(), "ours": program("-r", str(TRACE))}
    for number in range(runs + 1):
        for name, command in commands.items():
            screen = PtyProgram(command, SIZE)
            frame = screen.frame(lambda text: "REPLAY" in text)
            used = screen.processor()
            screen.quiet(0.5)
            if number:  # the first brings the files in
                taken[name].append(frame.at - screen.started)
                cpu[name].append(used)
            screen.close()
    ours, floor = statistics.median(taken["ours"]), statistics.median(taken["floor"])
    print(
        f"start to first paint: {ours:.2f} s, best {min(taken['ours']):.2f} (asked: 0.6); floor {floor:.2f},"
        f" best {min(taken['floor']):.2f}; {ours / floor:.2f} x; processor time"
        f" {statistics.median(cpu['ours']):.2f} s, floor {statistics.median(cpu['floor']):.2f}",
        flush=True,
    )


def part_long(path: Path, count: int, floor: Sequence[float]) -> None:
    """Print keys and memory over a long trace."""
    screen = PtyProgram(program("-r", str(path)), SIZE)
    first = screen.frame(lambda text: position(text) is not None)
    found = re.search(r"/([\d,]+) +\d+%", first.text)
    assert found
    events = int(found[1].replace(",", ""))
    screen.quiet()
    print(f"{events:,} events, key to painted screen; start to first paint {first.at - screen.started:.2f} s")
    keys(screen, lambda: events, count, floor)
    peak, anonymous = screen.peak()
    print(f"  peak memory {peak:.0f} MB, of it now not of files {anonymous:.0f} (asked: 200)", flush=True)
    screen.close()


def part_flood(count: int, floor: Sequence[float]) -> None:
    """Print keys and memory while events pour in, the screen paused (at random places) and following."""
    screen = PtyProgram([sys.executable, str(HERE / "flooded_screen.py"), str(TRACE), str(RATE)], SIZE)
    screen.frame(lambda text: re.search(r"LIVE +[\d,]{7,}/", text))

    def events() -> int:
        found = [re.search(r"/([\d,]+) +\d+%", frame.text) for frame in screen.frames[-50:]]
        return next(int(one[1].replace(",", "")) for one in reversed(found) if one)

    begun, first, used = time.monotonic(), events(), screen.processor()
    screen.send(" ")
    keys(screen, events, count, floor)
    seconds = time.monotonic() - begun
    rate, load = (events() - first) / seconds, (screen.processor() - used) / seconds
    print(f"  meanwhile {rate:,.0f} events/s were stored ({events():,} in all), {load:.0%} of a core")
    peak, anonymous = screen.peak()
    print(f"  peak memory {peak:.0f} MB, of it now not of files {anonymous:.0f} (asked: 200)", flush=True)
    screen.close()


def part_idle(seconds: float) -> None:
    """Print what an idle screen costs."""
    flooded = [sys.executable, str(HERE / "flooded_screen.py"), str(TRACE), "0"]
    for name, command in (
        ("floor", floor_program()),
        ("replay", program("-r", str(TRACE))),
        ("live, nothing arrives", flooded),
    ):
        screen = PtyProgram(command, SIZE)
        screen.frame(lambda text: "REPLAY" in text or "LIVE" in text)
        screen.quiet(1.0)
        used = screen.processor()
        time.sleep(seconds)
        print(f"idle, {name}: {(screen.processor() - used) / seconds:.1%} of a core (asked: 2 %)", flush=True)
        screen.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--keys", type=int, default=20, help="how often each key is pressed")
    parser.add_argument("--long", type=Path)
    options = parser.parse_args()
    parts = options.parts or ["start", "long", "flood", "idle"]
    if "start" in parts:
        part_start(7)
    floor: list[float] = []
    if {"long", "flood"} & set(parts):
        floor = floor_keys(200)
        print(f"floor, key to painted screen: {told(floor)}", flush=True)
    if "long" in parts:
        with tempfile.TemporaryDirectory() as name:
            path = options.long or Path(name) / "long.ktrace"
            if not path.exists():
                long_trace(TRACE, path, options.events)
            part_long(path, options.keys, floor)
    if "flood" in parts:
        part_flood(options.keys, floor)
    if "idle" in parts:
        part_idle(10)


if __name__ == "__main__":
    main()
