"""A session in a real terminal (tmux) against live traffic in the lab: what is shown is what -o recorded."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.trace.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Minutes under emulation: see CONTRIBUTING.
pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]

#: A machine boots without KVM, and probes are attached: that takes a while.
PATIENCE = 300.0


class Pane:
    """A tmux pane: what is on it, and what is typed."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self._socket), *words], check=True, capture_output=True, text=True
        ).stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.tmux("send-keys", key)

    def command(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def wait(self, found: Callable[[str], object], what: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while not found(screen := self.screen()):
            if time.monotonic() > deadline:
                pytest.fail(f"never seen: {what}\n{screen}")
            time.sleep(0.1)
        return screen


@pytest.fixture
def pane(tmp_path: Path) -> Iterator[Pane]:
    pane = Pane(tmp_path / "tmux")
    pane.tmux("-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "40", "env PS1='$ ' sh")
    yield pane
    subprocess.run(["tmux", "-S", str(tmp_path / "tmux"), "kill-server"], check=False)


def current(screen: str) -> tuple[int, str] | None:
    """Return the number and the function of the list's current row, None where there is none (yet)."""
    match = re.search(r"▶[ ●]?[ ◆]?\s+(\d+)\s.*?\b(ip_rcv_core\+\d+)", screen)
    return (int(match[1]), match[2]) if match else None


def test_keys_in_a_terminal_show_what_the_trace_holds(pane: Pane, tmp_path: Path) -> None:
    recorded = tmp_path / "screen.ktrace"
    program = shlex.join(
        [
            sys.executable,
            "-m",
            "ktcpdump_tui",
            "--lab=6.12",
            "-i",
            "ip_rcv_core+*",
            "-o",
            str(recorded),
            "icmp[icmptype] == icmp-echo",
        ]
    )
    home = f"XDG_CONFIG_HOME={tmp_path}/config XDG_STATE_HOME={tmp_path}/state"
    pane.command(f"cd {shlex.quote(str(ROOT))}; {home} {program}; echo status=$?")
    pane.wait(lambda screen: "LIVE" in screen.upper() and current(screen), "live events")

    pane.command(":5")  # an event, while more come in
    pane.wait(lambda screen: (current(screen) or (0,))[0] == 5, "event 5")
    seen = {5: current(pane.screen())}
    for key, no in (("i", 6), ("i", 7), ("I", 6)):
        pane.keys(key)
        pane.wait(lambda screen, no=no: (current(screen) or (0,))[0] == no, f"event {no} after {key}")
        seen[no] = current(pane.screen())
    assert "PAUSED" in pane.screen().upper(), "the screen stands still, the capture does not"

    pane.command(":break ip_rcv_core+0 if skb->len > 20")
    pane.wait(lambda screen: "breakpoint set: ip_rcv_core+0" in screen, "the breakpoint")
    pane.keys("c")
    stopped = pane.wait(lambda screen: "breakpoint 1, ip_rcv_core+0" in screen, "the stop")
    at = current(stopped)
    assert at is not None
    seen[at[0]] = at

    pane.command(":4n")
    pane.wait(lambda screen: (current(screen) or at)[0] > at[0], "four lines on")
    here = current(pane.screen())
    assert here is not None
    seen[here[0]] = here

    pane.keys("q")
    ended = pane.wait(lambda screen: re.search(r"status=\d", screen), "the end")
    assert "status=0" in ended, ended
    assert "Traceback" not in ended
    assert "events captured" in ended

    with Trace.open(recorded) as trace:
        assert trace.finished
        for no, shown in seen.items():
            assert shown == (no, trace.event(no).instruction.ksym)
        first_of_second = next(e.no for e in trace.events(2, len(trace)) if e.instruction.offset == 0)
        assert at[0] == first_of_second, "the next packet's first instruction"
