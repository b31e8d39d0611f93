"""Where the user is in the trace, what is listed, where breakpoints are. Nothing here knows the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.tui.event_list import EventList
from ktcpdump_tui.tui.stops import Stops, same_file

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Sequence

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.trace import Trace


class Navigator:
    """The state of the interface that is not on the screen.

    ``current`` is the event looked at (0: none yet), ``follow`` whether that is always the newest, ``level``
    the frame of its inline chain, 0 the innermost. ``stops`` is where continue stops; with ``across``, steps
    go on in other packets.
    """

    def __init__(self, trace: Trace, *, follow: bool) -> None:
        self.trace = trace
        self.rows = EventList(trace)
        self.current = 0
        self.follow = follow
        self.level = 0
        self.seen = 0
        self.stops = Stops()
        self.across = False
        self._functions: dict[tuple[str | None, str], list[Instruction]] = {}
        self._plan: Sequence[Instruction] = ()
        self._extent = (len(trace), trace.first_no)

    def refresh(self) -> bool:
        """Look whether the trace grew; return whether anything is to be shown anew."""
        self.trace.refresh()
        changed = self.trace.plan is not self._plan
        if changed:
            self._read_plan()
        before, self._extent = self._extent, (len(self.trace), self.trace.first_no)
        changed = changed or self._extent != before
        if changed:
            self.rows.refresh()
        return changed

    def _read_plan(self) -> None:
        self._plan = self.trace.plan
        self._functions = {}
        for instruction in self._plan:
            self._functions.setdefault((instruction.module, instruction.symbol), []).append(instruction)
        self.stops.resolve(self._plan)

    @property
    def breakpoints(self) -> frozenset[int]:
        """The instructions at which an enabled breakpoint is."""
        return self.stops.insns

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

    @property
    def functions(self) -> Iterable[tuple[str | None, str]]:
        """(module, symbol) of each function in the plan."""
        return self._functions

    def matching(self, pattern: re.Pattern[str], text: Callable[[str, int], str]) -> frozenset[int]:
        """Return the instructions of which symbol+offset, file:line, text, inlined function or source match.

        ``text`` returns the text of a line of a file, as far as it is known.
        """
        return frozenset(
            i.index for i in self._plan if any(pattern.search(part) for _, part in searched_parts(i, text))
        )


def searched_parts(instruction: Instruction, text: Callable[[str, int], str]) -> Iterable[tuple[str, str]]:
    """Yield what is searched of an instruction: (what it is, its text)."""
    yield "symbol", instruction.ksym
    yield "line", instruction.addr2line
    for frame in instruction.inlined_by:
        yield "function", frame.function
    if instruction.source is not None:
        yield "source", text(instruction.source.file, instruction.source.line).strip()
    yield "instruction", instruction.text
