"""Where the user is in the trace, what is listed, where breakpoints are. Nothing here knows the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.model import ProbeState
from ktcpdump_tui.tui.event_list import EventList

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.trace import Trace


class Navigator:
    """The state of the interface that is not on the screen.

    ``current`` is the event looked at (0: none yet), ``follow`` whether that is always the newest, ``level``
    the frame of its inline chain, 0 the innermost. Breakpoints are indices of the plan's instructions.
    """

    def __init__(self, trace: Trace, *, follow: bool) -> None:
        self.trace = trace
        self.rows = EventList(trace)
        self.current = 0
        self.follow = follow
        self.level = 0
        self.seen = 0
        self.breakpoints: set[int] = set()
        self._functions: dict[tuple[str | None, str], list[Instruction]] = {}
        self._plan: Sequence[Instruction] = ()

    def refresh(self) -> bool:
        """Look whether the trace grew; return whether anything is to be shown anew."""
        before = (len(self.trace), self.trace.first_no, self.trace.plan is self._plan)
        self.trace.refresh()
        if self.trace.plan is not self._plan:
            self._read_plan()
        changed = before != (len(self.trace), self.trace.first_no, True)
        if changed:
            self.rows.refresh()
        return changed

    def _read_plan(self) -> None:
        self._plan = self.trace.plan
        self._functions = {}
        for instruction in self._plan:
            self._functions.setdefault((instruction.module, instruction.symbol), []).append(instruction)

    def function_of(self, instruction: Instruction) -> Sequence[Instruction]:
        """Return all instructions of a function that are in the plan."""
        return self._functions.get((instruction.module, instruction.symbol), [instruction])

    @property
    def newest(self) -> int:
        """The number of the newest event listed, 0 where there is none."""
        return self.rows.number(self.rows.events - 1) if self.rows.events else 0

    @property
    def unseen(self) -> int:
        """Events that came since following stopped."""
        return 0 if self.follow else max(0, len(self.trace) - self.seen)

    def go(self, no: int, *, level: int = 0, follow: bool = False) -> None:
        """Look at an event; IndexError where there is none."""
        if not self.trace.first_no <= no <= len(self.trace):
            first, last = self.trace.first_no, len(self.trace)
            raise IndexError(f"there is no event {no:,}" + (f" ({first:,} to {last:,})" if last else " yet"))
        if self.follow and not follow:
            self.seen = len(self.trace)
        self.follow = follow
        self.current = no
        self.level = level

    def stop_following(self) -> None:
        """Stay where we are while the trace grows."""
        if self.follow:
            self.follow = False
            self.seen = len(self.trace)

    def toggle_line(self, file: str, line: int) -> tuple[int, bool]:
        """Set or clear the breakpoint of a line, or of the next one that has a probe, as gdb does.

        Returns the line and whether it is set now. UsageError where the file has no such line.
        """
        lines = sorted(
            {i.source.line for i in self._plan if i.source and same_file(i.source.file, file) and _watched(i)}
        )
        found = next((other for other in lines if other >= line), None)
        if found is None:
            raise UsageError(
                f"no probed instruction belongs to {file}:{line} or a later line",
                "ktcpdump-tui --list SPEC says what a SPEC probes",
            )
        indices = self._beginnings(found, file)
        return found, self._toggle(indices)

    def _beginnings(self, line: int, file: str) -> set[int]:
        """Return the first instruction with a probe of each run of instructions that belong to the line.

        Stopping at all of them would stop many times in one execution of the line.
        """
        indices = set()
        inside: tuple[str | None, str] | None = None
        for instruction in self._plan:
            source = instruction.source
            belongs = source is not None and source.line == line and same_file(source.file, file)
            function = (instruction.module, instruction.symbol)
            if not belongs:
                inside = None
            elif inside != function and _watched(instruction):
                indices.add(instruction.index)
                inside = function
        return indices

    def toggle_symbol(self, text: str) -> bool:
        """Set or clear the breakpoint of ``symbol`` or ``symbol+offset`` (decimal, or 0x...)."""
        symbol, _, offset = text.partition("+")
        try:
            wanted = int(offset or "0", 0)
        except ValueError:
            raise UsageError(f"'{offset}' is not an offset", ":break ip_rcv_core+45") from None
        found = [i for i in self._plan if i.symbol == symbol and _watched(i)]
        if not found:
            raise UsageError(f"no probe is in a function called {symbol}", "? lists the commands")
        if not offset:
            # The entry itself may be ftrace's or an endbr64: the first instruction with a probe is meant.
            wanted = min(i.offset for i in found)
        indices = {i.index for i in found if i.offset == wanted}
        if not indices:
            raise UsageError(
                f"no instruction with a probe begins at {symbol}+{wanted}", "d shows the instructions"
            )
        return self._toggle(indices)

    def _toggle(self, indices: Iterable[int]) -> bool:
        wanted = set(indices)
        if wanted <= self.breakpoints:
            self.breakpoints -= wanted
            return False
        self.breakpoints |= wanted
        return True

    def full_name(self, file: str) -> str:
        """Return the name a file has in the plan, of which ``file`` may be the last parts."""
        return next((i.source.file for i in self._plan if i.source and same_file(i.source.file, file)), file)

    def breakpoint_lines(self, file: str) -> frozenset[int]:
        """Return the lines of a file that have a breakpoint."""
        sources = (self._plan[index].source for index in self.breakpoints)
        return frozenset(source.line for source in sources if source and source.file == file)

    def at_line(self, file: str, line: int) -> frozenset[int]:
        """Return the instructions of a line."""
        return frozenset(
            i.index for i in self._plan if i.source and (i.source.file, i.source.line) == (file, line)
        )

    def matching(self, text: str) -> frozenset[int]:
        """Return the instructions whose symbol+offset, file:line, inlined function or text contains it."""
        wanted = text.casefold()
        return frozenset(i.index for i in self._plan if any(wanted in part for part in _searched(i)))


def _searched(instruction: Instruction) -> Iterable[str]:
    yield instruction.ksym.casefold()
    yield instruction.addr2line.casefold()
    yield instruction.text.casefold()
    for frame in instruction.inlined_by:
        yield frame.function.casefold()


def same_file(recorded: str, wanted: str) -> bool:
    """Return whether ``wanted`` names the file: the whole path, or its last parts."""
    return recorded == wanted or recorded.endswith("/" + wanted)


def _watched(instruction: Instruction) -> bool:
    return instruction.probe is ProbeState.ATTACHED
