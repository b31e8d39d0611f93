"""Steps through the trace, in a thread of its own with a reader of its own."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace import breakpoints, stepping
from ktcpdump_tui.trace.stepping import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.stop_search import Found, StopSearch
    from ktcpdump_tui.tui.stops import Rule
    from ktcpdump_tui.tui.value_fields import Values

#: Seconds after which a growing trace is looked at again.
_LOOK_AGAIN: Final = 0.05

#: gdb's words that take a count.
WORDS: Final = ("step", "next", "stepi", "finish", "until", "advance", "continue")


@dataclass(frozen=True, slots=True)
class StepOrder:
    """A step: one of gdb's words, ``reverse-`` before it to go backwards; ``run`` and ``last`` besides.

    ``start`` is where to step from, None for where the step before ended; ``packet`` confines continue to
    that packet; ``across`` lets the other steps go on in other packets. ``rules`` are what stops a step;
    ``insns`` is where ``run`` and ``advance`` go; ``wrap`` lets ``run`` go on at the other end. ``text``
    is the expression of ``last``, which goes back to who wrote its value. ``failure`` is what to say where
    the step leads nowhere. ``serial`` grows with each order.
    """

    command: str
    start: Stop | None
    packet: int | None
    insns: frozenset[int] = frozenset()
    failure: str = ""
    wrap: bool = False
    count: int = 1
    across: bool = False
    rules: tuple[Rule, ...] = ()
    text: str = ""
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where an order led: ``stop`` (None: nowhere), and what to say of it.

    ``reached`` is the number of the breakpoint or watch that stopped it; ``passed`` how often others were
    passed over because of their ignore counts.
    """

    stop: Stop | None
    note: str = ""
    reached: int | None = None
    passed: Mapping[int, int] = field(default_factory=dict)


class TraceStepper:
    """Made in the interface's thread, used in another: the trace is opened at the first step.

    ``grows`` tells whether more may be written to the trace; ``continue`` waits for it then.
    """

    def __init__(
        self,
        open_trace: Callable[[], Trace],
        make_values: Callable[[Trace], Values | None],
        grows: Callable[[], bool] = lambda: False,
    ) -> None:
        self._grows = grows
        self._open_trace, self._make_values = open_trace, make_values
        self._steppers: dict[bool, stepping.Stepper] = {}
        self._search: StopSearch | None = None
        self._at = Stop(0)
        self._given_up = 0
        self._lock = threading.Lock()

    def cancel(self, serial: int) -> None:
        """Give up the orders up to that number. Called in the interface's thread."""
        with self._lock:
            self._given_up = serial

    def prepare(self) -> None:
        """Open a trace that is whole: the first step would wait for that.

        A reader that is not used keeps a growing trace from going on in another file.
        """
        if not self._grows():
            self._ready()

    def _ready(self) -> StopSearch:
        from ktcpdump_tui.tui.stop_search import StopSearch

        if self._search is None:
            self._trace = self._open_trace()
            self._search = StopSearch(self._trace, self._make_values)
            self._steppers = {across: stepping.Stepper(self._trace, across) for across in (False, True)}
        return self._search

    def step(self, order: StepOrder) -> Arrival:
        """Return where a step leads; UserError where an expression makes no sense."""
        search = self._ready()
        self._trace.refresh()
        if order.start is not None:
            self._at = order.start
        best, passed = Arrival(None, order.failure), dict[int, int]()
        for made in range(order.count):
            if self._cancelled(order):
                return Arrival(
                    best.stop, "given up" if not made else f"given up after {made:,} of {order.count:,}"
                )
            arrival = self._once(search, order)
            for number, times in arrival.passed.items():
                passed[number] = passed.get(number, 0) + times
            if arrival.stop is None:
                note = arrival.note or order.failure
                if made:
                    note = f"{made:,} of {order.count:,} made: {note}"
                return Arrival(best.stop, note, None, passed)
            self._at = arrival.stop
            best = Arrival(arrival.stop, arrival.note, arrival.reached, passed)
            if arrival.reached is not None and not order.command.endswith("continue"):
                break
        return best

    def _cancelled(self, order: StepOrder) -> bool:
        return order.serial <= self._given_up

    def _once(self, search: StopSearch, order: StepOrder) -> Arrival:
        reverse = order.command.startswith("reverse-")
        word = order.command.removeprefix("reverse-")
        no = self._at.no

        def cancelled() -> bool:
            return self._cancelled(order)

        if word == "continue":
            hit = search.next(order.rules, no, reverse, order.packet, cancelled)
            if hit.no is None and not reverse:
                hit = self._await_hit(search, order, hit, cancelled)
            if hit.no is None:
                return Arrival(None, "given up" if cancelled() else "", None, hit.passed)
            return Arrival(Stop(hit.no), hit.note, hit.number, hit.passed)
        if word == "run":
            found = self._run(no, reverse, order)
            if found is None and order.wrap:
                found = self._run(len(self._trace) + 1 if reverse else 0, reverse, order)
            return Arrival(found)
        if word in ("last", "change"):
            return self._write(search, no, order, cancelled)
        stop = self._step(word, reverse, order)
        if word == "stepi" or not order.rules:
            return Arrival(stop)
        # A breakpoint on the way stops a step, as in gdb.
        packet = order.packet
        if not order.across:
            packet = int(self._trace.heads(no, no)["packet"][0]) or packet
        hit = search.next(order.rules, no, reverse, packet, cancelled)
        if hit.no is not None and (stop is None or (hit.no > stop.no if reverse else hit.no < stop.no)):
            return Arrival(Stop(hit.no), hit.note, hit.number, hit.passed)
        return Arrival(stop)

    def _await_hit(
        self, search: StopSearch, order: StepOrder, hit: Found, cancelled: Callable[[], bool]
    ) -> Found:
        """Return where continue stops in what is still written, as a debugger waits for a running program."""
        looked = len(self._trace)
        passed = dict(hit.passed)
        while hit.no is None and not cancelled():
            grows = self._grows()  # asked before the trace is read: what came last is then seen
            self._trace.refresh()
            if len(self._trace) > looked:
                if any(rule.kind == "catch" for rule in order.rules):
                    # That a packet was dropped may be known some time after its last event.
                    passed = {}
                    hit = search.next(order.rules, self._at.no, False, order.packet, cancelled)
                else:
                    rules = [
                        replace(one, ignore=one.ignore - passed.get(one.number, 0)) for one in order.rules
                    ]
                    hit = search.next(rules, looked, False, order.packet, cancelled)
                looked = len(self._trace)
                for number, times in hit.passed.items():
                    passed[number] = passed.get(number, 0) + times
            elif grows:
                time.sleep(_LOOK_AGAIN)
            else:
                break
        return replace(hit, passed=passed)

    def _step(self, word: str, reverse: bool, order: StepOrder) -> Stop | None:
        stepper, no, up = self._steppers[order.across], self._at.no, self._at.up
        match word:
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
            case "advance":
                # As gdb: to the place, or to where the current frame ends, whatever comes first.
                end = stepper.finish(no, up)
                there = self._run(no, False, order)
                stops = [one for one in (end, there) if one is not None]
                return min(stops, key=lambda one: one.no, default=None)
        raise ValueError(f"{order.command} is no step")

    def _run(self, no: int, reverse: bool, order: StepOrder) -> Stop | None:
        """Return the nearest event at one of the instructions."""
        packet = order.packet
        if order.command == "advance" and not order.across:
            packet = int(self._trace.heads(no, no)["packet"][0]) or None
        for numbers, _heads in self._trace.chunks(no, reverse, packet=packet, insns=sorted(order.insns)):
            return Stop(int(numbers[-1 if reverse else 0]))
        return None

    def _write(self, search: StopSearch, no: int, order: StepOrder, cancelled: Callable[[], bool]) -> Arrival:
        watch = search.watch(order.text)
        if watch.key(self._trace.event(no)) is None:
            raise UserError(
                f"{order.text} has no value at event {no:,}", "step to a line where it has one (4 shows them)"
            )
        onwards = order.command == "change"
        find = breakpoints.next_change if onwards else breakpoints.last_change
        hit = find(self._trace, no, watch, cancelled)
        if hit is None:
            return Arrival(None, "given up" if cancelled() else order.failure)
        before = hit.before
        if onwards and before is not None:
            old, new = (search.text(order.text, number) for number in (before, hit.no))
            return Arrival(Stop(hit.no), f"{order.text}: {old} at event {before:,}, {new} from here on")
        if before is None:
            return Arrival(Stop(hit.no), f"{order.text} has this value from here on")
        values = [search.text(order.text, number) for number in (hit.no, before)]
        lower, upper = sorted((hit.no, before))
        old, new = values if hit.no < before else reversed(values)
        # The event shows the state before its instruction: the earlier of the two is the one that wrote.
        return Arrival(Stop(lower), f"{order.text}: {old} until here, {new} at event {upper:,}")
