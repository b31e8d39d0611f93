"""A capture in the lab whose trace is read on the host."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

from ktcpdump_tui.trace.stream import pump
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter
from tests.kernel.harness import capture

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ktcpdump_tui.lab import Lab


@contextlib.contextmanager
def recorded(
    lab: Lab, path: Path, words: Sequence[str], *, symbols: bool = True, **how: Any
) -> Iterator[tuple[Trace, str]]:
    """Capture in the guest with ``words`` (``how`` as for ``harness.capture``); yield trace and stderr.

    Without ``symbols`` they are not named: the guest may find them.
    """
    debug = ["-d", str(lab.vmlinux)] if symbols else []
    got = capture(lab, ["--no-tui", "-o", "-", *debug, *words], **how)
    pump(io.BytesIO(got.stdout), TraceWriter(path), "the lab")
    with Trace.open(path) as trace:
        trace.refresh()
        yield trace, got.stderr
