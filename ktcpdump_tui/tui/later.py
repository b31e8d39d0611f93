"""Imports what the first picture does not need, once it is drawn: half of the start would go to it."""

from __future__ import annotations

import gc
import importlib
import threading
from typing import Final

#: What the first command, comparison or screen of a kind would have to wait for.
_MODULES: Final = (
    "ktcpdump_tui.trace.values",
    "ktcpdump_tui.tui.highlight",
    "ktcpdump_tui.tui.command_runner",
    "ktcpdump_tui.trace.saving",
    "ktcpdump_tui.tui.quit_screen",
    "ktcpdump_tui.tui.compare_screen",
    "ktcpdump_tui.tui.help_screen",
    "ktcpdump_tui.tui.stops_screen",
    "ktcpdump_tui.tui.columns_screen",
    "ktcpdump_tui.tui.functions_screen",
    "ktcpdump_tui.tui.callee_screen",
    "ktcpdump_tui.tui.drops",
    "ktcpdump_tui.tui.stop_search",
    "ktcpdump_tui.export",
    "ktcpdump_tui.tui.log_screen",
    "ktcpdump_tui.tui.palette_providers",
)


def import_rest() -> None:
    """Import it in a thread of its own."""
    threading.Thread(target=_import, name="imports", daemon=True).start()


def _import() -> None:
    for name in _MODULES:
        importlib.import_module(name)
    gc.freeze()  # modules stay: none of them has to be gone through for garbage
