"""Runs in the guest: the whole program, killed or interrupted at many moments; what it left, told as JSON.

``kills N SEED``: kill -9 at N random moments. ``interrupts``: Ctrl-C at each stage of a survey and of
thousands of instructions.
"""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TRACING = Path("/sys/kernel/tracing")
EVENTS = TRACING / "kprobe_events"
KPROBES = Path("/sys/kernel/debug/kprobes/list")
EXPEDITED = Path("/sys/kernel/rcu_expedited")
LOCK = Path("/run/ktcpdump-tui.rcu")
GROUP = "ktcpdump_tui_"

#: What is killed: some 200 probes that pings run into, and those that follow packets; nothing is selected, so
#: that it need not print for minutes before it ends.
KILLED = ("-i", "ip_rcv_core+*", "udp port 9")
MANY = ("-i", "tcp_v4_rcv+*,__netif_receive_skb_core+*", "icmp")
PHASES = ("any", "attach", "capture", "detach")


class Program:
    """``ktcpdump-tui --json`` on a terminal of its own, as far as stderr goes."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.ready_file, self.output = folder / "ready", folder / "output"
        self.ready_file.unlink(missing_ok=True)
        options = ("--json", "--max-cpu", "0", "--ready-file", str(self.ready_file))
        self.started = time.monotonic()
        self._terminal, end = pty.openpty()
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ktcpdump_tui", *options, *words],
                stdin=subprocess.DEVNULL, stdout=output, stderr=end, start_new_session=True,
            )  # fmt: skip
        os.close(end)
        self.said = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._terminal, 4096):
                self.said += data
        except OSError:  # EIO: nobody has the terminal's other end any more
            os.close(self._terminal)

    def until(self, what: Callable[[], Any], seconds: float = 500) -> float:
        """Wait until something holds, return the seconds since the start. It has to before the end."""
        end = time.monotonic() + seconds
        while not what():
            assert self.process.poll() is None, self.said.decode(errors="replace")
            assert time.monotonic() < end, self.said.decode(errors="replace")
            time.sleep(0.01)
        return time.monotonic() - self.started

    def group(self) -> str:
        """Return how the names of its probes begin."""
        return f"{GROUP}{self.process.pid}_"

    def defining(self) -> bool:
        return self.group() in EVENTS.read_text()

    def ready(self) -> bool:
        return self.ready_file.exists()

    def wait(self) -> int:
        """Wait for its end; return the exit status."""
        status = self.process.wait(120)
        self._reader.join(10)
        return status

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def tell(text: str) -> None:
    descriptor = os.open(EVENTS, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def note(text: str) -> None:
    """Say on stderr how far it is."""
    print(f"{time.clock_gettime(time.CLOCK_BOOTTIME):7.1f} s  {text}", file=sys.stderr, flush=True)


def state() -> dict[str, str]:
    """Return all that probes leave in the kernel, and the switch that is changed meanwhile."""
    # each line: the function, how many hook it, and where those are, which differs from time to time
    hooked = [line.split()[:2] for line in (TRACING / "enabled_functions").read_text().splitlines()]
    return {
        "events": EVENTS.read_text(),
        "kprobes": KPROBES.read_text(),
        "functions": "\n".join(" ".join(words) for words in hooked),
        "expedited": EXPEDITED.read_text(),
        "lock": LOCK.read_text() if LOCK.exists() else "",
    }


def armed() -> list[str]:
    return [line for line in KPROBES.read_text().splitlines() if "[DISABLED]" not in line]


def hits(event: str) -> int:
    rows = [line.split() for line in (TRACING / "kprobe_profile").read_text().splitlines()]
    return next(int(row[1]) for row in rows if row[0] == event)


def ping(count: int) -> None:
    subprocess.run(
        ["ping", "-q", "-c", str(count), "-i", "0.1", "127.0.0.1"], capture_output=True, check=True
    )


def whole_run(folder: Path) -> dict[str, float]:
    """Run it once from start to end; return the seconds each phase takes, and from the start to its end."""
    program = Program(folder, *KILLED)
    defining = program.until(program.defining)
    ready = program.until(program.ready)
    time.sleep(0.5)
    asked = time.monotonic()
    program.process.send_signal(signal.SIGINT)
    assert program.wait() == 0, program.said.decode(errors="replace")
    ended = time.monotonic()
    note(f"whole: probes after {defining:.1f} s, ready after {ready:.1f} s, ended in {ended - asked:.1f} s")
    lasted = {"any": ended - program.started, "attach": ready - defining, "capture": 0.5}
    return lasted | {"detach": ended - asked}


def kills(count: int, seed: int) -> dict[str, Any]:
    """Kill it at random moments of all phases, with another tool's probe on an instruction of ours."""
    tell("p:other/mine ip_rcv_core\n")
    switch = TRACING / "events/other/mine/enable"
    switch.write_text("1")
    before = state()
    counted = hits("mine")
    chance = random.Random(seed)
    told: dict[str, Any] = {"phases": {}, "left": 0, "armed": 0, "after start": 0, "starts": 0, "touched": 0}
    pings = subprocess.Popen(["ping", "-q", "-i", "0.1", "127.0.0.1"], stdout=subprocess.PIPE, text=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lasts = told["lasts"] = whole_run(folder)
        left: set[str] = set()
        for number in range(count):
            phase = PHASES[number % len(PHASES)]
            program = Program(folder, *KILLED)
            started = phase != "any"
            if started:
                program.until(program.defining)
                told["starts"] += 1
                told["after start"] += any(group in EVENTS.read_text() for group in left)
            if phase in ("capture", "detach"):
                program.until(program.ready)
            if phase == "detach":
                program.process.send_signal(signal.SIGINT)
            time.sleep(chance.uniform(0.0, lasts[phase]))
            told["phases"].setdefault(phase, []).append(program.process.poll() is None)
            program.kill()
            events = EVENTS.read_text()
            if program.group() in events:
                left.add(program.group())
                told["left"] += 1
            end = time.monotonic() + 10
            while len(now := armed()) != 1 and time.monotonic() < end:
                time.sleep(0.05)
            told["armed"] += now != [line for line in now if "ip_rcv_core" in line][:1]
            told["touched"] += "other/mine" not in events or switch.read_text().strip() != "1"
            note(f"{number + 1}: {phase}, {events.count(program.group())} probes left")
        whole_run(folder)
    pings.send_signal(signal.SIGINT)
    received = int(pings.communicate()[0].split(" received")[0].split()[-1])
    told["other hits"], told["packets"] = hits("mine") - counted, 2 * received
    after = state()
    told["different"] = {key: after[key] for key in before if after[key] != before[key]}
    switch.write_text("0")
    tell("-:other/mine\n")
    return told


def interrupts() -> dict[str, Any]:
    """Ctrl-C while it compiles, defines probes, arms them, and captures."""
    before = state()
    told: dict[str, Any] = {"runs": {}}

    def run(name: str, words: tuple[str, ...], moment: Callable[[Program], bool], status: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            program = Program(Path(folder), *words)
            at = program.until(lambda: moment(program))
            program.process.send_signal(signal.SIGINT)
            begun = time.monotonic()
            got = program.wait()
            took = time.monotonic() - begun
            after = state()
            said = program.said.decode(errors="replace")
            told["runs"][name] = {
                "status": [got, status],
                "different": {key: after[key] for key in before if after[key] != before[key]},
                "bars": [one for one in said.replace("\x1b[K", "").split("\r") if one[-1:].isdigit()],
                "traceback": "Traceback" in said,
                "said": said[-300:],
                "at": at,
                "took": took,
            }  # fmt: skip
            note(f"{name}: {got} after {took:.2f} s, interrupted at {at:.1f} s")

    def captured(program: Program) -> bool:
        if program.ready():
            ping(1)
        return program.output.read_bytes().count(b"\n") > 1  # the header is the first line

    def half(program: Program) -> bool:
        return EVENTS.read_text().count(program.group()) > 300

    survey = ("--survey", "icmp")
    run("survey compiling", survey, lambda program: b"compiling" in program.said, 130)
    run("survey defining", survey, Program.defining, 130)
    run("survey ready", survey, Program.ready, 0)
    run("survey capturing", survey, captured, 0)
    run("many defining", MANY, half, 130)
    run("many ready", MANY, Program.ready, 0)
    return told


if __name__ == "__main__":
    answer = interrupts() if sys.argv[1] == "interrupts" else kills(int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(answer))
