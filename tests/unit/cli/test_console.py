"""What is said on stderr while something goes on."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from ktcpdump_tui.commands.console import PROGRESS, Console

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_line_that_vanishes_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    console = Console()
    console.progress("defining probes", 16, 57)
    assert console.doing == "defining probes 16/57"
    assert terminal.getvalue() == "defining probes [#####...............] 16/57\r"
    console.progress_done()
    assert console.doing == ""
    assert terminal.getvalue().endswith("\x1b[K")


def test_a_screen_that_has_the_terminal_asks_for_progress_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    console = Console()
    console.leave_terminal()
    console.progress("looking up ip_rcv:*", 0, 0)
    assert console.doing == "looking up ip_rcv:*"
    console.progress_done()
    assert terminal.getvalue() == ""
    console.say("for the log")
    assert terminal.getvalue() == "for the log\n"


def test_progress_for_a_program_elsewhere_is_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
    console = Console(piped=True)
    console.progress("defining probes", 1, 2)
    console.progress("defining probes", 2, 2)
    assert pipe.getvalue() == f"{PROGRESS}defining probes\n"
