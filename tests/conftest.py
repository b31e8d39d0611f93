"""What all tests need."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Have Ctrl-C work in tests of it: a shell that starts pytest in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
