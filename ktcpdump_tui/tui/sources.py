"""Documents for the source pane: found and highlighted in a thread, kept while the program runs."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.source import Missing
from ktcpdump_tui.tui.source_view import Document

if TYPE_CHECKING:
    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.ports import SourceProvider

#: Highlighted files kept: some 10 MB each for the longest of the kernel.
_KEPT: Final = 64


class Documents:
    """Makes documents (in any one thread) and keeps them."""

    def __init__(self, sources: SourceProvider) -> None:
        self._sources = sources
        self._kept: OrderedDict[str, Document | Missing] = OrderedDict()

    def known(self, file: str) -> Document | Missing | None:
        """Return what was made before, without waiting."""
        return self._kept.get(file)

    def load(self, file: str) -> Document | Missing:
        """Find and highlight a file; may take seconds where a tarball has to be read."""
        kept = self._kept.get(file)
        if kept is None:
            found = self._sources.find(file)
            if isinstance(found, Missing):
                kept = found
            else:
                from ktcpdump_tui.tui.highlight import highlight

                kept = Document(file, found.name, found.lines, highlight(found.lines), found.doubt)
            self._kept[file] = kept
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return kept


def no_line(instruction: Instruction, trace: Trace) -> tuple[str, str]:
    """Return why an instruction has no source line, and what would give it one."""
    if any(other.source for other in trace.plan):
        return f"no source line is known for {instruction.ksym}", ""
    return (
        f"no source lines: the trace was captured without debug symbols of {trace.header.release}",
        "capture again with -d VMLINUX, or install the kernel's debug symbols",
    )
