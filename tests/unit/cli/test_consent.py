"""The question before a large file is fetched, on a real terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ASKING = """
import sys
from ktcpdump_tui.commands.console import Console
from ktcpdump_tui.commands.debug_symbols import debuginfod
stopped = []
import signal
signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
client = debuginfod(Console(), lambda: bool(stopped))
print("consent:", client._confirm(812_000_000), flush=True)
"""


def ask(answer: bytes | None, servers: str = "http://127.0.0.1:1") -> str:
    """Run the question in a terminal, type ``answer`` (None: Ctrl-C); return all that was shown."""
    child, terminal = pty.fork()
    if child == 0:
        environment = {**os.environ, "DEBUGINFOD_URLS": servers, "PYTHONPATH": str(ROOT)}
        os.execve(sys.executable, [sys.executable, "-c", ASKING], environment)
    shown, asked = b"", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:  # EIO: the child has ended
            break
        shown += data
        if not asked and b"[y/N]" in shown:
            asked = True
            if answer is None:
                os.kill(child, signal.SIGINT)
            else:
                os.write(terminal, answer)
    os.waitpid(child, 0)
    os.close(terminal)
    return shown.decode()


@pytest.mark.parametrize(
    ("answer", "consent"),
    [(b"y\n", True), (b"Yes\n", True), (b"\n", False), (b"n\n", False), (None, False)],
    ids=["y", "Yes", "Enter", "n", "Ctrl-C"],
)
def test_a_large_file_is_fetched_with_consent_only(answer: bytes | None, consent: bool) -> None:
    shown = ask(answer)
    assert "Fetch the kernel's debug symbols (812 MB) from debuginfod? [y/N]" in shown
    assert f"consent: {consent}" in shown
