"""What all tests need."""

from __future__ import annotations

import os
import signal
import tempfile


def pytest_configure() -> None:
    """Have Ctrl-C work in tests of it: a shell that starts pytest in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The settings and profiles of whoever runs the tests are none of their business.
    own = tempfile.mkdtemp(prefix="ktcpdump-tests-")
    os.environ |= {"XDG_CONFIG_HOME": f"{own}/config", "XDG_STATE_HOME": f"{own}/state"}
