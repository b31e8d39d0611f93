"""Finds where breakpoints, watches and drops stop, with conditions and ignore counts. For one thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ktcpdump_tui import arch
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.trace import breakpoints
from ktcpdump_tui.trace.breakpoints import Breakpoint, Hit, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.stops import Rule
    from ktcpdump_tui.tui.value_fields import Values


@dataclass(frozen=True, slots=True)
class Found:
    """Event ``no`` (None: nowhere), the ``number`` of the rule that stopped there, why, and who did not."""

    no: int | None
    number: int | None = None
    note: str = ""
    passed: Mapping[int, int] = field(default_factory=dict)


class StopSearch:
    """Searches ``trace``, in the thread it was opened in; ``make_values`` gives what expressions need."""

    def __init__(self, trace: Trace, make_values: Callable[[Trace], Values | None]) -> None:
        self._trace = trace
        self._make_values = make_values
        self._values: Values | None = None

    def next(
        self,
        rules: Sequence[Rule],
        no: int,
        reverse: bool,
        packet: int | None,
        cancelled: Callable[[], bool],
    ) -> Found:
        """Return the nearest stop after ``no`` (``reverse``: before). UsageError: a bad expression."""
        breaks = {
            rule.number: self._break(rule) for rule in rules if rule.kind == "breakpoint" and rule.insns
        }
        watches = {
            rule.number: self.watch(rule.text, rule.condition) for rule in rules if rule.kind == "watch"
        }
        catches = [rule for rule in rules if rule.kind == "catch"]
        left = {rule.number: rule.ignore for rule in rules}
        passed: dict[int, int] = {}
        at = no
        while not cancelled():
            hit = None
            if breaks or watches:
                hit = breakpoints.continue_to(
                    self._trace, at, breaks.values(), watches.values(),
                    reverse=reverse, packet=packet, cancelled=cancelled,
                )  # fmt: skip
            found = self._name(hit, breaks, watches) if hit else Found(None)
            if catches:
                found = self._nearer(found, self._drop(catches[0], at, reverse, packet), reverse)
            if found.no is None or found.number is None:
                return Found(None, passed=passed)
            if left[found.number] <= 0:
                return Found(found.no, found.number, found.note, passed)
            left[found.number] -= 1
            passed[found.number] = passed.get(found.number, 0) + 1
            at = found.no
        return Found(None, passed=passed)

    def watch(self, text: str, condition: str = "") -> Watch:
        """Return a watch on an expression, which has no value where its condition is not true."""
        if text.removeprefix("$") in arch.REGISTERS and not condition:
            name = text.removeprefix("$")
            return Watch(text, lambda event: event.register(name), name)
        values = self._known()
        self._true(f"!!({text})", None)

        def key(event: Event) -> str | None:
            if condition and not self._true(condition, event):
                return None
            value = values.evaluate(text, event)
            return value.text if value.why is None else None

        return Watch(text, key)

    def text(self, expression: str, no: int) -> str:
        """Return an expression's value at an event, for people."""
        event = self._trace.event(no)
        if expression.removeprefix("$") in arch.REGISTERS:
            return f"{event.register(expression.removeprefix('$')):#x}"
        return self._known().evaluate(expression, event).text

    def _break(self, rule: Rule) -> Breakpoint:
        if not rule.condition:
            return Breakpoint(rule.text, rule.insns)
        self._known()
        return Breakpoint(rule.text, rule.insns, lambda event: self._true(rule.condition, event))

    def _true(self, condition: str, event: Event | None) -> bool:
        """Return whether a condition holds; where it means nothing, it does not."""
        if event is None:
            return False
        value = self._known().evaluate(f"!!({condition})", event)
        return value.why is None and value.text != "0"

    def _known(self) -> Values:
        if self._values is None:
            self._values = self._make_values(self._trace)
        if self._values is None:
            raise UsageError(
                "the trace holds no types, so expressions have no value in it",
                "capture with debug symbols (-d VMLINUX)",
            )
        return self._values

    def _drop(self, rule: Rule, no: int, reverse: bool, packet: int | None) -> Found:
        drops = self._trace.drops()
        wanted = drops[:, 0] < no if reverse else drops[:, 0] > no
        if packet is not None:
            wanted &= drops[:, 1] == packet
        found = drops[wanted]
        if not len(found):
            return Found(None)
        number, dropped = found[-1 if reverse else 0].tolist()
        reason = self._trace.packet(dropped).drop_reason or "reason unknown"
        return Found(number, rule.number, f"catch {rule.number}: packet {dropped} dropped: {reason}")

    @staticmethod
    def _nearer(one: Found, other: Found, reverse: bool) -> Found:
        known = [found for found in (one, other) if found.no is not None]
        if not known:
            return one
        return (max if reverse else min)(known, key=lambda found: found.no or 0)

    def _name(self, hit: Hit, breaks: Mapping[int, Breakpoint], watches: Mapping[int, Watch]) -> Found:
        for number, breakpoint_ in breaks.items():
            if hit.reason is breakpoint_:
                return Found(hit.no, number, f"breakpoint {number}, {breakpoint_.location}")
        number = next(number for number, watch in watches.items() if hit.reason is watch)
        if hit.before is None:
            return Found(hit.no, number, f"watch {number}: {watches[number].name}")
        name = watches[number].name
        first, second = sorted((hit.no, hit.before))
        return Found(
            hit.no, number, f"watch {number}: {name}: {self.text(name, first)} -> {self.text(name, second)}"
        )
