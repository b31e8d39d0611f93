"""Stepping, breakpoints and drops: what is ordered from the thread that walks through the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace.stepping import Stop
from ktcpdump_tui.tui.background import Background
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.ports import CaptureState
from ktcpdump_tui.tui.source_view import SourceView
from ktcpdump_tui.tui.stepper import StepOrder, TraceStepper
from ktcpdump_tui.tui.trace_app import TraceApp

if TYPE_CHECKING:
    from ktcpdump_tui.tui.stepper import Arrival
    from ktcpdump_tui.tui.stops import StopPoint

#: Seconds after which a step that is still on its way is spoken of.
_LONG: Final = 0.5


class SteppingApp(TraceApp):
    """A TraceApp in which one can step."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._stepper = TraceStepper(self.open_trace, self.make_values, self._grows)
        self._awaited = False
        self._serial = 0
        self._count = 0
        self._superseded: set[int] = set()
        self._repeated: tuple[str, int] | None = None

    def on_mount(self) -> None:
        """Start the thread (TraceApp's own on_mount is called as well)."""
        self.stepping = Background(
            self,
            "stepping",
            self._stepper.step,
            self._stepped,
            self.fail,
            newest=False,
            at_once=True,
            prepare=self._stepper.prepare,
        )
        self._background.append(self.stepping)

    def on_unmount(self) -> None:
        """Let the thread end."""
        self.give_up()

    def _grows(self) -> bool:
        return self.control is not None and self.control.state is not CaptureState.ENDED

    # Steps

    def action_step(self, command: str, count: int = 1) -> None:
        """Step, in gdb's words."""
        if not self.navigator.current:
            return
        count = self.take_count() or count
        self._repeated = (command, count)
        stops = self.navigator.stops
        if command.endswith("continue") and not stops.rules():
            disabled = "every breakpoint is disabled: B lists them" if len(stops) else "no breakpoint is set"
            self.notice(f"{disabled}{'' if len(stops) else ': b sets one on the source line'}")
            return
        direction = "earlier" if command.startswith("reverse-") else "later"
        self._order(command, failure=f"{command}: no {direction} event", count=count, rules=stops.rules())

    def action_digit(self, digit: int) -> None:
        """Add a digit to the count of the next step or movement, as vim does."""
        self._count = min(10 * self._count + digit, 1_000_000)
        self.notice(f"{self._count} …" if self._count else "")

    def take_count(self) -> int:
        """Return the count that was typed before a key, 0 where none was; it counts once."""
        count, self._count = self._count, 0
        return count

    def action_repeat(self) -> None:
        """Do the last step again, as Enter does in gdb."""
        if self._repeated is None:
            self.notice("there is no step to repeat yet")
        else:
            self.action_step(*self._repeated)

    def action_across(self) -> None:
        """Let steps go on in other packets, or stay in one."""
        self.navigator.across = not self.navigator.across
        self.notice(
            "steps go on in whatever packet the CPU works on next"
            if self.navigator.across
            else "steps stay in this packet"
        )

    def advance(self, insns: frozenset[int], failure: str) -> None:
        """Go on to one of these instructions, or to the end of this frame."""
        self._order("advance", failure=failure, insns=insns, rules=self.navigator.stops.rules())

    def action_advance(self) -> None:
        """Go on to the source line under the cursor, or to the end of this frame."""
        view = self.main.query_one(SourceView)
        file, line = view.document.file, view.cursor + 1
        insns = self.navigator.at_line(file, line)
        if insns:
            self.advance(insns, f"{file}:{line} is not reached any more")
        else:
            self.notice(f"no instruction of {file}:{line} is in the plan")

    def run_to(
        self,
        found: frozenset[int],
        failure: str,
        *,
        forward: bool = True,
        wrap: bool = False,
        start: Stop | None = None,
    ) -> None:
        """Go to the next event, or the one before, at one of these instructions, from here or ``start``."""
        command = "run" if forward else "reverse-run"
        self._order(command, start, failure=failure, insns=found, wrap=wrap)

    def last_write(self, expression: str) -> None:
        """Go back to who wrote the value of an expression last."""
        self._order("last", failure=f"nothing before changes {expression}", text=expression)

    def next_write(self, expression: str) -> None:
        """Go on to where the value of an expression is another one."""
        self._order(
            "change", failure=f"nothing after this changes {expression} of this packet", text=expression
        )

    def _order(self, command: str, start: Stop | None = None, **details: Any) -> None:
        if self._awaited:
            self.supersede()  # a stop that may never come
        self._awaited = command == "continue" and self._grows()
        if start is None and not self.stepping.busy:
            start = Stop(self.navigator.current, self.navigator.level)
        self._serial += 1
        packet = self.navigator.rows.only_packet
        order = StepOrder(
            command, start, packet, across=self.navigator.across, serial=self._serial, **details
        )
        self.stepping.order(order)
        self.set_timer(_LONG, lambda: self._still(order.serial))

    def _still(self, serial: int) -> None:
        if self.shown and self.stepping.busy and serial == self._serial:
            still = ", also in what is still to come" if self._awaited else ""
            self.notice(f"searching{still} … Esc gives up")

    def supersede(self) -> None:
        """Give up the last step in silence: another one takes its place."""
        if self.give_up():
            self._superseded.add(self._serial)

    def give_up(self) -> bool:
        """Give up the steps on their way; return whether there were any."""
        if not self.stepping.busy:
            return False
        self._stepper.cancel(self._serial)
        return True

    def _stepped(self, order: StepOrder, arrival: Arrival) -> None:
        if not self.shown:
            return
        if order.serial in self._superseded:
            self._superseded.discard(order.serial)
            return
        if order.serial == self._serial:
            self._awaited = False
        stops = self.navigator.stops
        for number, times in arrival.passed.items():
            stops.passed(number, times)
        if arrival.reached is not None:
            stops.arrived(arrival.reached)
            self.show_breakpoints()
        if arrival.stop is not None:
            self.go(arrival.stop.no, level=arrival.stop.up)
        banner = self.main.query_one(Banner)
        if arrival.note:
            banner.show_notice(arrival.note)
        elif banner.message.startswith("searching"):
            banner.dismiss()

    # Breakpoints

    def action_breakpoint(self) -> None:
        """Set or clear a breakpoint on the line under the source pane's cursor."""
        view = self.main.query_one(SourceView)
        if view.document.file:
            self.toggle_break(f"{view.document.file}:{view.cursor + 1}")

    def toggle_break(self, location: str) -> None:
        """Set or clear a location's breakpoint, and say so."""
        try:
            found, is_set = self.navigator.stops.toggle(location)
        except UserError as error:
            self.notice(str(error))
            return
        self.show_breakpoints()
        self.notice(f"breakpoint {'set' if is_set else 'cleared'}: {found}")

    def action_stops(self) -> None:
        """List the breakpoints, watches and catches."""
        from ktcpdump_tui.tui.stops_screen import StopsScreen

        self.push_screen(StopsScreen(self.navigator.stops, self.show_breakpoints), self._go_to_stop)

    def _go_to_stop(self, point: StopPoint | None) -> None:
        if point is not None and point.insns:
            self.run_to(point.insns, f"no event at {point.text}", wrap=True)
