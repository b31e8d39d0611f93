"""gdb's stepping as a plain state machine that is told the truth by machine.py: slow, short, independent."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machine import Activation, Happening, Program

    from ktcpdump_tui.model import Instruction


class Oracle:
    """Works on the events of one thread; positions are indices into it."""

    def __init__(self, program: Program, thread: list[Happening]) -> None:
        self.plan = program.plan
        self.thread = thread
        self.paths = [self._path(insn) for insn in program.plan]
        rows = [(insn.symbol, insn.source, insn.inlined_by) for insn in program.plan]
        self.row_starts = [number == 0 or rows[number - 1] != row for number, row in enumerate(rows)]

    # What is at an event.

    def _path(self, insn: Instruction) -> tuple:
        """The inline instance: functions from the outermost inwards, and the line of each call."""
        chain = insn.inlined_by[::-1]
        path = [chain[0].function]
        for outer, inner in itertools.pairwise(chain):
            path += [(outer.file, outer.line), inner.function]
        return tuple(path)

    def path(self, at: int) -> tuple:
        return self.paths[self.thread[at].insn]

    def inside(self, at: int, frame: tuple) -> bool:
        return self.path(at)[: len(frame)] == frame

    def line(self, at: int, depth: int) -> tuple | None:
        chain = self.plan[self.thread[at].insn].inlined_by[::-1]
        here = chain[depth]
        return (here.file, here.line) if here.line else None

    def depth(self, at: int) -> int:
        return len(self.plan[self.thread[at].insn].inlined_by) - 1

    def starts(self, at: int) -> bool:
        return self.row_starts[self.thread[at].insn]

    def begins(self, at: int) -> bool:
        source = self.plan[self.thread[at].insn].source
        return self.starts(at) and source.is_stmt and source.line != 0

    def aside(self, at: int) -> bool:
        source = self.plan[self.thread[at].insn].source
        return self.starts(at) and not source.is_stmt and source.line != 0

    def entry(self, at: int) -> bool:
        return self.plan[self.thread[at].insn].offset == 0

    def act(self, at: int) -> Activation:
        return self.thread[at].activation

    # Forwards.

    def stepi(self, at: int) -> int | None:
        return at + 1 if at + 1 < len(self.thread) else None

    def _key(self, at: int) -> tuple:
        return (self.act(at).number, self.path(at), self.line(at, self.depth(at)))

    def step(self, at: int) -> int | None:
        current = self._key(at)
        for event in range(at + 1, len(self.thread)):
            if self.begins(event) and self._key(event) != current:
                return event
            changed = self.act(event) is not self.act(event - 1)
            if self.line(event, self.depth(event)) and (not self.aside(event) or changed):
                current = self._key(event)
        return None

    def next(self, at: int, up: int = 0, until: bool = False) -> tuple[int, int] | None:
        depth = self.depth(at) - up
        frame = self.path(at)[: 2 * depth + 1]
        current = first = self.line(at, depth)
        home = self.act(at)
        for event in range(at + 1, len(self.thread)):
            if self.act(event) is home:
                if not self.inside(event, frame):
                    if not self.begins(event):
                        continue
                    outer = frame[:-2]
                    return event, self.depth(event) - depth + 1 if self.inside(event, outer) else 0
                line = self.line(event, depth)
                if until:
                    if self.begins(event) and line and first and line[0] == first[0] and line[1] > first[1]:
                        return event, self.depth(event) - depth
                    continue
                if self.begins(event) and line and line != current:
                    return event, self.depth(event) - depth
                if line and (self.begins(event) or (self.depth(event) == depth and not self.aside(event))):
                    current = line
            elif home.number not in self.thread[event].alive:
                return (event, 0) if self.begins(event) else self.next(event)
        return None

    def finish(self, at: int, up: int = 0) -> int | None:
        depth = self.depth(at) - up
        frame = self.path(at)[: 2 * depth + 1]
        home = self.act(at)
        gone = {home.number}
        for event in range(at + 1, len(self.thread)):
            here = self.act(event)
            if here is home and not self.inside(event, frame) and self.begins(event):
                return event
            if depth == 0 and here.replaced is not None and here.replaced.number in gone:
                gone.add(here.number)
            if not gone & self.thread[event].alive:
                return event
        return None

    # Backwards.

    def reverse_step(self, at: int) -> int | None:
        if at == 0:
            return None
        stops = [0] if self.begins(0) else []
        event = 0
        known = self.line(0, self.depth(0)) and (not self.aside(0) or self.entry(0))
        current = self._key(0) if known else None
        for event in range(1, at):
            if self.begins(event) and self._key(event) != current:
                stops.append(event)
            changed = self.act(event) is not self.act(event - 1)
            if self.line(event, self.depth(event)) and (not self.aside(event) or changed):
                current = self._key(event)
        return stops[-1] if stops else 0

    def visit(self, at: int, up: int) -> list[int]:
        """The events of the frame before and at ``at``, since it was last entered."""
        depth = self.depth(at) - up
        frame = self.path(at)[: 2 * depth + 1]
        events: list[int] = []
        for event in range(at + 1):
            if self.act(event) is not self.act(at):
                continue
            if self.inside(event, frame):
                events.append(event)
            elif self.begins(event):
                events = []
        return events

    def _last_stop(self, events: list[int], depth: int) -> tuple[int, int] | None:
        current: tuple | None = None
        stop = None
        for event in events:
            line = self.line(event, depth)
            if self.begins(event) and line and line != current:
                stop = (event, self.depth(event) - depth)
            if line and (self.begins(event) or (self.depth(event) == depth and not self.aside(event))):
                current = line
        return stop

    def reverse_next(self, at: int, up: int = 0) -> tuple[int, int] | None:
        depth = self.depth(at) - up
        events = self.visit(at, up)
        before = events[:-1]
        if before:
            return self._last_stop(before, depth) or (before[0], 0)
        caller = self.caller(at, up, tail_calls=True)
        if caller is None:
            caller = at - 1
        if caller < 0:
            return None
        events = self.visit(caller, 0)
        return self._last_stop(events, self.depth(caller)) or (events[0], 0)

    def caller(self, at: int, up: int, tail_calls: bool) -> int | None:
        """The last event of the frame that called the one at ``at``, before that was entered."""
        first = self.visit(at, up)[0]
        home = self.act(at)
        wanted = {home.number} if self.depth(at) - up else set()
        if tail_calls and home.replaced is not None:
            wanted.add(home.replaced.number)
        callers = wanted
        if not any(self.act(event).number in wanted for event in range(first)):
            callers = {home.caller.number} if home.caller is not None else set()
        for event in range(first - 1, -1, -1):
            if self.act(event).number in callers:
                return event
        return None

    def reverse_finish(self, at: int, up: int = 0) -> int | None:
        caller = self.caller(at, up, tail_calls=False)
        to = caller if caller is not None else self.visit(at, up)[0]
        return to if to < at else None
