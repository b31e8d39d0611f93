"""Asking debuginfod for debug symbols, with the user's consent for large files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo.debuginfod import Debuginfod

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.commands.console import Console


def debuginfod(console: Console, cancelled: Callable[[], bool]) -> Debuginfod | None:
    """Return a client of the servers in DEBUGINFOD_URLS, None where there are none.

    ``console`` asks before a large file, and shows how much of it has come; ``cancelled`` ends both.
    """
    if not Debuginfod.servers():
        return None

    def confirm(size: int | None) -> bool:
        how_much = f"{size / 1e6:,.0f} MB" if size else "an unknown number of bytes"
        return console.confirm(f"Fetch the kernel's debug symbols ({how_much}) from debuginfod?", cancelled)

    def progress(done: int, of: int | None) -> None:
        console.progress(
            "fetching debug symbols from debuginfod (MB)", done // 1_000_000, (of or 0) // 1_000_000
        )

    return Debuginfod(confirm, progress, cancelled=cancelled)
