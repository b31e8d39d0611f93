"""The rules of stepping.py over arrays of events: statements, frames, and the way back to a frame's start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui import arch
from ktcpdump_tui.trace.shape import NO_LINE

if TYPE_CHECKING:
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.shape import PlanShape

_STACK_SHIFT: Final = arch.STACK_SIZE.bit_length() - 1
_WORD: Final = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame event ``no`` is in: an activation (CFA, function), and in it the inline instance ``path``.

    ``depth`` counts inline levels from the real function (0); ``line`` is the line id there; ``insn`` is an
    index of PlanShape's arrays.
    """

    no: int
    insn: int
    packet: int
    cpu: int
    cfa: int
    function: int
    depth: int
    path: int
    line: int


class Statements:
    """Tells, over the consecutive events of a thread, where ``step`` would stop.

    ``here`` is the event before the first. None means that it is not known: then nothing can be said of the
    events up to the first that makes a line the current one, unless the thread begins there (``at_start``).
    """

    def __init__(self, shape: PlanShape, here: Frame | None, at_start: bool = False) -> None:
        self._shape = shape
        self._at_start = at_start
        # CFA, path and line of the last event that made its line the current one.
        self._current: tuple[int, int, int] | None = (here.cfa, here.path, here.line) if here else None
        # CFA and function of the last event.
        self._last: tuple[int, int] | None = (here.cfa, here.function) if here else None

    def feed(self, heads: Array) -> Array:
        """Take the next events (at least one); return where a stop would be, as a mask."""
        shape = self._shape
        insn = shape.known_all(heads["insn"])
        cfa = heads["cfa"]
        function, path, line = shape.function[insn], shape.inner_path[insn], shape.inner_line[insn]
        changed = np.empty(len(insn), "?")
        changed[1:] = (cfa[1:] != cfa[:-1]) | (function[1:] != function[:-1])
        changed[0] = self._last is not None and self._last != (int(cfa[0]), int(function[0]))
        changed |= shape.entry[insn]
        refresh = (line != NO_LINE) & (~shape.aside[insn] | changed)
        before = _forerunner(refresh)
        differs = (cfa != cfa[before]) | (path != path[before]) | (line != line[before])
        first = before < 0
        if self._current is None:
            differs[first] = self._at_start
        else:
            now = self._current
            differs[first] = (cfa[first] != now[0]) | (path[first] != now[1]) | (line[first] != now[2])
        if refresh.any():
            at = int(np.flatnonzero(refresh)[-1])
            self._current = (int(cfa[at]), int(path[at]), int(line[at]))
        self._last = (int(cfa[-1]), int(function[-1]))
        stops: Array = shape.begins[insn] & (differs | shape.entry[insn])
        return stops


class Lines:
    """Tells, over the consecutive events of one frame, where ``next`` would stop.

    The current line is ``here``'s; with ``known`` False it is not known until an event makes its line the
    current one, or the frame begins (``at_start``).
    """

    def __init__(self, shape: PlanShape, here: Frame, known: bool, at_start: bool = False) -> None:
        self._shape = shape
        self._here = here
        self._current = here.line if known else -1
        self._at_start = at_start

    def feed(self, insn: Array) -> Array:
        """Take the instructions of the frame's next events; return where a stop would be, as a mask."""
        shape, here = self._shape, self._here
        if not len(insn):
            return np.empty(0, "?")
        inside = shape.path[insn, here.depth] == here.path
        line = shape.line[insn, here.depth]
        begins = inside & shape.begins[insn] & (line != NO_LINE)
        exact = inside & (shape.depth[insn] == here.depth) & (line != NO_LINE) & ~shape.aside[insn]
        refresh = begins | exact
        before = _forerunner(refresh)
        differs = line != line[before]
        first = before < 0
        differs[first] = self._at_start if self._current < 0 else line[first] != self._current
        if refresh.any():
            self._current = int(line[np.flatnonzero(refresh)[-1]])
        stops: Array = begins & differs
        return stops

    def further_down(self, insn: Array) -> Array:
        """Return which of the instructions begin a line of this frame below ``here``'s, as a mask."""
        shape, here = self._shape, self._here
        inside = shape.path[insn, here.depth] == here.path
        line = shape.line[insn, here.depth]
        same_file = shape.line_file[line] == shape.line_file[here.line]
        below = shape.line_number[line] > shape.line_number[here.line]
        stops: Array = inside & shape.begins[insn] & same_file & below
        return stops


class Onwards:
    """Follows a frame forwards to the next statement in it, or to its end.

    ``stop``: that statement's event, and how many inline levels the frame is above its innermost. ``at``: the
    first event after the frame's end. ``elsewhere``: the first event on another stack after the frame's last
    one, which is what follows if the frame shows no more.
    """

    def __init__(
        self, shape: PlanShape, here: Frame, finish: bool = False, further_down: bool = False
    ) -> None:
        self._shape = shape
        self._here = here
        self._finish = finish
        self._further_down = further_down
        self._lines = Lines(shape, here, known=True)
        self._dead = bool(shape.returns[here.insn])
        self.stop: tuple[int, int] | None = None
        self.at: int | None = None
        self.elsewhere: int | None = None

    def feed(self, numbers: Array, heads: Array) -> None:
        """Take the next events of the thread (at least one)."""
        if self._dead:
            self.at = int(numbers[0])
            return
        shape, here = self._shape, self._here
        insn, cfa = shape.known_all(heads["insn"]), heads["cfa"]
        on, same = on_stack(cfa, here)
        ours = shape.function[insn] == here.function
        # A tail call replaces the function and keeps the frame: to leave it means to leave both.
        both = self._finish and not here.depth
        own = same & ~(shape.entry[insn] & ours) if both else same & ours & ~shape.entry[insn]
        over = on & ~own & (cfa >= here.cfa)
        end = _first(over)
        returned = _first(own & shape.returns[insn])
        if returned < end:
            end = returned + 1
            self._dead = end == len(insn)
        mine = np.flatnonzero(own[:end])
        self._look(numbers[mine], insn[mine])
        if self.stop or self.at is not None:
            return
        if end < len(insn):
            self.at = int(numbers[end])
        shown = np.flatnonzero(on)
        after = int(shown[-1]) + 1 if len(shown) else 0
        if after:
            self.elsewhere = None
        if self.elsewhere is None and after < len(insn):
            self.elsewhere = int(numbers[after])

    def _look(self, numbers: Array, insn: Array) -> None:
        """Find the first statement, or where an inline instance is left, among the activation's events."""
        shape, here = self._shape, self._here
        out = len(insn)
        if here.depth:
            out = _first(shape.begins[insn] & (shape.path[insn, here.depth] != here.path))
        if self._finish:
            if out < len(insn):
                self.at = int(numbers[out])
            return
        inside = insn[:out]
        stop = _first(self._lines.further_down(inside) if self._further_down else self._lines.feed(inside))
        if stop < len(inside):
            self.stop = (int(numbers[stop]), int(shape.depth[insn[stop]]) - here.depth)
        elif out < len(insn):
            # Back in the function around it, even where that calls another inlined function at once.
            outer = shape.path[here.insn, here.depth - 1]
            stays = shape.path[insn[out], here.depth - 1] == outer
            self.stop = (int(numbers[out]), int(shape.depth[insn[out]]) - here.depth + 1 if stays else 0)


class Backwards:
    """Follows a frame backwards to its first event; ``complete`` once that has been seen."""

    def __init__(self, shape: PlanShape, here: Frame) -> None:
        self._shape = shape
        self._here = here
        self.complete = bool(shape.entry[here.insn])
        self._above = here.cfa  # the caller's CFA is higher

    def feed(self, heads: Array) -> Array:
        """Take the events before those taken last; return the indices of the frame's."""
        if self.complete:
            return np.empty(0, "<i8")
        shape, here = self._shape, self._here
        insn, cfa = shape.known_all(heads["insn"]), heads["cfa"]
        on, same = on_stack(cfa, here)
        own = same & (shape.function[insn] == here.function)
        entered = own & shape.entry[insn]
        ends = entered | (own & shape.returns[insn]) | (on & ~own & (cfa >= here.cfa))
        start = 0
        marks = np.flatnonzero(ends)
        if len(marks):
            self.complete = True
            last = int(marks[-1])
            start = last if entered[last] else last + 1
        at = np.flatnonzero(own[start:]) + start
        if here.depth:
            inside = shape.path[insn[at], here.depth] == here.path
            outs = np.flatnonzero(~inside & shape.begins[insn[at]])
            if len(outs):
                self.complete = True
                at, inside = at[outs[-1] + 1 :], inside[outs[-1] + 1 :]
            at = at[inside]
        return at


class Caller:
    """Looks, backwards from a frame's first event (instruction ``first``), for the last event of its caller.

    The caller of an inline instance is the function around it. Frames that had returned are no callers.
    ``tail_calls``: a function that ended in this one by a tail call counts.
    """

    def __init__(self, shape: PlanShape, here: Frame, first: int, tail_calls: bool) -> None:
        self._shape = shape
        self._here = here
        self._inside = here.depth > 0 and not shape.entry[first]
        self._tail_calls = tail_calls
        self._near = self._inside or tail_calls  # whether events with the same CFA still count
        self._above = here.cfa  # those of other callers have a higher one

    def find(self, heads: Array) -> int | None:
        """Take the events before those taken last; return the index of the caller's event, if there."""
        insn, cfa = self._shape.known_all(heads["insn"]), heads["cfa"]
        on, same = on_stack(cfa, self._here)
        while True:
            found = np.flatnonzero(on & ((cfa > self._above) | (same & self._near)))
            if not len(found):
                return None
            last = int(found[-1])
            returned = bool(self._shape.returns[insn[last]])
            if same[last]:
                ours = self._inside and self._shape.function[insn[last]] == self._here.function
                if not returned and (ours or self._tail_calls):
                    return last
                self._near = False
            elif not returned:
                return last
            else:
                self._above, self._near = int(cfa[last]), False
            on[last:] = False


def on_stack(cfa: Array, here: Frame) -> tuple[Array, Array]:
    """Return which events are on the stack ``here`` is on, and which have its CFA too, as masks.

    The word below the CFA is the return address, so it lies on the stack even for the outermost frame. An
    event without a CFA (0) is on no stack but its own.
    """
    same = cfa == here.cfa
    if not here.cfa:
        return same, same
    stack = np.uint64((here.cfa - _WORD) >> _STACK_SHIFT)
    return (cfa != 0) & ((cfa - np.uint64(_WORD)) >> np.uint64(_STACK_SHIFT) == stack), same


def _forerunner(refresh: Array) -> Array:
    """Return for each position the last one before it where ``refresh`` is set, or -1."""
    last = np.maximum.accumulate(np.where(refresh, np.arange(len(refresh)), -1))
    return np.concatenate((np.array([-1], last.dtype), last[:-1]))


def _first(mask: Array) -> int:
    """Return the first position that is set, or the length."""
    at = int(np.argmax(mask)) if len(mask) else 0
    return at if len(mask) and mask[at] else len(mask)
