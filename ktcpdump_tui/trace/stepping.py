"""gdb's stepping commands, forwards and backwards, as queries on a trace.

A *thread* is what is stepped through: the events of one packet, or, across packets, the events of one CPU.

An *activation* is one run of a function. Its events have the same CFA and function, and it lasts until one
of these is seen on its stack: its return instruction, an event of an outer frame (a higher CFA), an event at
the function's entry or of another function with the same CFA (a tail call). An event with a lower CFA belongs
to something it called. Events on other stacks (a softirq on the interrupt stack) lie between two events of
an activation, or come after it when it shows no more.

A *statement* begins at an instruction that is the first of a row of the line table flagged is_stmt. As in
gdb, a command stops only where a statement begins; landing in the middle of a line makes that the current
line and goes on; rows that are no statements, and line 0, are passed over.

=================  =================================================================================
stepi              next event of the thread (across packets: of the trace)
step               next statement of another line, of another inline instance, or of another activation
next               next statement of another line of this frame; calls and inlined functions are passed
                   over; at the end of the frame, goes on in the one that called it
finish             first event after the frame has been left; functions it ended in by a tail call are left
                   as well
until              as next, but only a higher line of this frame: loops are run to their end
reverse-step       start of the current line's run; if it is there already, of the run before
reverse-next       the same within this frame; at its start, the line of the caller that called it
reverse-finish     the call; where the caller is not traced, the first event of the activation
continue           next event at a breakpoint's instruction whose condition holds, or at which a watched
                   value differs from the one at the packet's event before (breakpoints.py)
reverse-continue   the same, the nearest before
last write         nearest earlier change of a value of this packet: skb field, register, expression.
                   An event shows what was before its instruction, so the event before the changed one
                   names the instruction that wrote (or something untraced after it did)
next write         nearest later change of it in this packet
next packet        first event of the packet that began next; of the one that began before (navigate.py)
drop               last event of the packet that is dropped next, or was before
loss               next event before which events are missing on its CPU, or the nearest before
time               first event at or after it, in the order of the trace
=================  =================================================================================

Events at which a watched value is out of scope are passed over. Where events were lost, a change is found at
the first event that shows it: the instruction that wrote may be a lost one.

Functions without line information are entered (they were asked for), and each of their instructions is a
line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ktcpdump_tui.trace.frames import Backwards, Caller, Frame, Lines, Onwards, Statements
from ktcpdump_tui.trace.shape import PlanShape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a command stopped: event ``no``, in the frame ``inlined_by[up]`` of its instruction.

    ``up`` is above 0 where ``next`` arrives at the call of a function that was inlined: the line to show is
    the call's, and the inlined function has not been entered yet.
    """

    no: int
    up: int = 0


class Stepper:
    """Steps over ``trace`` within packets, or ``across`` packets; all methods take and return event numbers.

    Each returns None where there is nothing to stop at. IndexError where event ``no`` is not in the trace.
    """

    def __init__(self, trace: Trace, across: bool = False) -> None:
        self._trace = trace
        self._across = across
        self._plan = trace.plan
        self._shape = PlanShape(trace.plan)

    def stepi(self, no: int, reverse: bool = False) -> Stop | None:
        """Go to the next event (``reverse``: the previous one)."""
        if self._across:
            to = no - 1 if reverse else no + 1
            return Stop(to) if self._trace.first_no <= to <= len(self._trace) else None
        for numbers, _ in self._thread(self._frame(no, 0), reverse):
            return Stop(int(numbers[-1 if reverse else 0]))
        return None

    def step(self, no: int, up: int = 0, reverse: bool = False) -> Stop | None:
        """Go to the next statement of another line, entering what is called (``reverse``: backwards)."""
        here = self._frame(no, up)
        if up and not reverse:
            return Stop(no, up - 1)
        if reverse:
            return self._step_back(here)
        walk = Statements(self.shape, here)
        for numbers, heads in self._thread(here):
            found = np.flatnonzero(walk.feed(heads))
            if len(found):
                return Stop(int(numbers[found[0]]))
        return None

    def next(self, no: int, up: int = 0, reverse: bool = False) -> Stop | None:
        """Go to the next statement of another line of this frame, or of the caller when it ends."""
        here = self._frame(no, up)
        return self._next_back(here) if reverse else self._next(here, further_down=False)

    def until(self, no: int, up: int = 0) -> Stop | None:
        """Go on as ``next`` does, but to a line further down in this frame."""
        return self._next(self._frame(no, up), further_down=True)

    def finish(self, no: int, up: int = 0, reverse: bool = False) -> Stop | None:
        """Go to the first event after this frame (``reverse``: to the call that made it)."""
        here = self._frame(no, up)
        if reverse:
            first, caller = self._start(here, tail_calls=False)
            to = caller if caller is not None else first
            return Stop(to) if to < no else None
        left = Onwards(self.shape, here, finish=True)
        for numbers, heads in self._thread(here):
            left.feed(numbers, heads)
            if left.at is not None:
                return Stop(left.at)
        return Stop(left.elsewhere) if left.elsewhere is not None else None

    @property
    def shape(self) -> PlanShape:
        """The plan as stepping sees it; made again when the trace got another plan."""
        if self._plan is not self._trace.plan:
            self._plan = self._trace.plan
            self._shape = PlanShape(self._plan)
        return self._shape

    def _frame(self, no: int, up: int) -> Frame:
        if not self._trace.first_no <= no <= len(self._trace):
            raise IndexError(f"event {no} is not in the trace")
        head = self._trace.heads(no, no)[0]
        shape = self.shape
        insn = shape.known(int(head["insn"]))
        depth = max(0, int(shape.depth[insn]) - up)
        return Frame(
            no, insn, int(head["packet"]), int(head["cpu"]), int(head["cfa"]), int(shape.function[insn]),
            depth, int(shape.path[insn, depth]), int(shape.line[insn, depth]),
        )  # fmt: skip

    def _thread(self, here: Frame, reverse: bool = False) -> Iterator[tuple[Array, Array]]:
        if self._across or not here.packet:
            return self._trace.chunks(here.no, reverse, cpu=here.cpu)
        return self._trace.chunks(here.no, reverse, packet=here.packet)

    def _next(self, here: Frame, further_down: bool) -> Stop | None:
        while True:
            left = Onwards(self.shape, here, further_down=further_down)
            for numbers, heads in self._thread(here):
                left.feed(numbers, heads)
                if left.stop or left.at is not None:
                    break
            if left.stop:
                return Stop(*left.stop)
            to = left.at if left.at is not None else left.elsewhere
            if to is None:
                return None
            here, further_down = self._frame(to, 0), False
            if self.shape.begins[here.insn]:
                return Stop(to)

    def _step_back(self, here: Frame) -> Stop | None:
        numbers, heads = np.empty(0, "<i8"), None
        for more, before in self._thread(here, reverse=True):
            numbers = np.concatenate((more, numbers))
            heads = before if heads is None else np.concatenate((before, heads))
            found = np.flatnonzero(Statements(self.shape, None).feed(heads))
            if len(found):
                return Stop(int(numbers[found[-1]]))
        if heads is None:
            return None
        found = np.flatnonzero(Statements(self.shape, None, at_start=True).feed(heads))
        return Stop(int(numbers[found[-1]] if len(found) else numbers[0]))

    def _next_back(self, here: Frame) -> Stop | None:
        numbers, insns, whole = self._visit(here)
        found = self._last_statement(here, numbers, insns, whole)
        if found:
            return found
        if len(numbers):
            return Stop(int(numbers[0]))
        first, caller = self._start(here, tail_calls=True)
        if caller is None:
            # The caller is not traced: what the thread did before.
            for before, _ in self._thread(self._frame(first, 0), reverse=True):
                caller = int(before[-1])
                break
        if caller is None:
            return None
        outer = self._frame(caller, 0)
        numbers, insns, whole = self._visit(outer)
        numbers, insns = np.append(numbers, caller), np.append(insns, outer.insn)
        return self._last_statement(outer, numbers, insns, whole) or Stop(int(numbers[0]))

    def _last_statement(self, here: Frame, numbers: Array, insns: Array, whole: bool) -> Stop | None:
        if not len(numbers):
            return None
        lines = Lines(self.shape, here, known=False, at_start=whole)
        found = np.flatnonzero(lines.feed(insns))
        if not len(found):
            return None
        at = found[-1]
        return Stop(int(numbers[at]), int(self.shape.depth[insns[at]]) - here.depth)

    def _visit(self, here: Frame) -> tuple[Array, Array, bool]:
        """Return numbers and instructions of the frame's events before ``here`` as far back as is of use.

        The last result says whether they reach back to the frame's first event; they do unless a statement
        that differs from its forerunner is among them.
        """
        numbers, insns = np.empty(0, "<i8"), np.empty(0, "<i8")
        back = Backwards(self.shape, here)
        for more, heads in self._thread(here, reverse=True):
            at = back.feed(heads)
            numbers = np.concatenate((more[at], numbers))
            insns = np.concatenate((self.shape.known_all(heads["insn"][at]), insns))
            if back.complete:
                return numbers, insns, True
            if self._last_statement(here, numbers, insns, whole=False):
                return numbers, insns, False
        return numbers, insns, True

    def _start(self, here: Frame, tail_calls: bool) -> tuple[int, int | None]:
        """Return the numbers of the frame's first event and, if traced, of its caller's event before it."""
        first, insn = here.no, here.insn
        back = Backwards(self.shape, here)
        passed: list[tuple[Array, Array]] = []
        caller: Caller | None = None
        for numbers, heads in self._thread(here, reverse=True):
            passed.append((numbers, heads))
            if caller is None:
                at = back.feed(heads)
                if len(at):
                    first, insn = int(numbers[at[0]]), self.shape.known(int(heads["insn"][at[0]]))
                if not back.complete:
                    continue
                caller = Caller(self.shape, here, insn, tail_calls)
            found = self._in_passed(caller, passed, first)
            if found is not None:
                return first, found
            passed.clear()
        if caller is None:
            caller = Caller(self.shape, here, insn, tail_calls)
        return first, self._in_passed(caller, passed, first)

    def _in_passed(self, caller: Caller, passed: list[tuple[Array, Array]], first: int) -> int | None:
        for numbers, heads in passed:
            before = int(np.searchsorted(numbers, first))
            found = caller.find(heads[:before])
            if found is not None:
                return int(numbers[found])
        return None
