"""Steps through the trace, in a thread of its own with a reader of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktcpdump_tui.trace import stepping
from ktcpdump_tui.trace.stepping import Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.trace.trace import Trace


@dataclass(frozen=True, slots=True)
class StepOrder:
    """A step: one of gdb's words, ``reverse-`` before it to go backwards.

    ``start`` is where to step from, None for where the step before ended; ``packet`` confines continue to
    that packet; ``breakpoints`` are the instructions it stops at; ``wrap`` lets it go on at the other end.
    ``failure`` is what to say where the step leads nowhere.
    """

    command: str
    start: Stop | None
    packet: int | None
    breakpoints: frozenset[int] = frozenset()
    failure: str = ""
    wrap: bool = False


class TraceStepper:
    """Made in the interface's thread, used in another: the trace is opened at the first step."""

    def __init__(self, open_trace: Callable[[], Trace]) -> None:
        self._open_trace = open_trace
        self._stepper: stepping.Stepper | None = None
        self._at = Stop(0)

    def step(self, order: StepOrder) -> Stop | None:
        """Return where a step leads, None where there is nothing to stop at."""
        if self._stepper is None:
            self._trace = self._open_trace()
            self._stepper = stepping.Stepper(self._trace)
        self._trace.refresh()
        if order.start is not None:
            self._at = order.start
        stop = self._step(self._stepper, order)
        if stop is not None:
            self._at = stop
        return stop

    def _step(self, stepper: stepping.Stepper, order: StepOrder) -> Stop | None:
        reverse = order.command.startswith("reverse-")
        no, up = self._at.no, self._at.up
        match order.command.removeprefix("reverse-"):
            case "stepi":
                return stepper.stepi(no, reverse)
            case "step":
                return stepper.step(no, up, reverse)
            case "next":
                return stepper.next(no, up, reverse)
            case "finish":
                return stepper.finish(no, up, reverse)
            case "until":
                return stepper.until(no, up)
            case "continue":
                found = self._continue(no, reverse, order)
                if found is None and order.wrap:
                    found = self._continue(len(self._trace) + 1 if reverse else 0, reverse, order)
                return found
        raise ValueError(f"{order.command} is no step")

    def _continue(self, no: int, reverse: bool, order: StepOrder) -> Stop | None:
        """Return the nearest event at one of the breakpoints."""
        insns = sorted(order.breakpoints)
        for numbers, _heads in self._trace.chunks(no, reverse, packet=order.packet, insns=insns):
            return Stop(int(numbers[-1 if reverse else 0]))
        return None
