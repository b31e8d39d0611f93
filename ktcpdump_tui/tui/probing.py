"""Probes that are added and removed from the screen while a capture runs."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.model import ProbeState
from ktcpdump_tui.tui.ports import CaptureState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.trace.values import TraceValues
    from ktcpdump_tui.tui.ports import CaptureControl

#: A direct callee's name: ``*rax`` and addresses are none.
_NAME: Final = re.compile(r"[A-Za-z_][\w.]*")

#: Calls the compiler adds; nobody wants to look into them.
_NOISE: Final = re.compile(r"__fentry__|__stack_chk_fail|__x86_|__sanitizer_|__asan_|__kasan_|__ubsan_")


class Probing:
    """What was asked of the capture and is not done yet.

    ``look`` is called now and then in the interface's thread; it calls ``say`` with progress and with what
    was done, ``fail`` with what went wrong.
    """

    def __init__(
        self,
        control: CaptureControl | None,
        say: Callable[[str], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._control = control
        self._say, self._fail = say, fail
        self._asked: list[tuple[str, Future[str]]] = []
        self._told = ""

    @property
    def busy(self) -> bool:
        """Whether anything is not done yet."""
        return bool(self._asked)

    @property
    def possible(self) -> bool:
        """Whether probes can be added now."""
        return self._control is not None and self._control.can_probe

    def order(self, verb: str, spec: str) -> None:
        """Ask for a change: ``probe`` or ``unprobe``. UsageError where nothing is captured."""
        control = self._control
        if control is None:
            raise UsageError(
                "this is a recorded trace: probes are added and removed while a capture runs",
                f"capture again with -i '{spec}'",
            )
        if not control.can_probe:
            if control.state is CaptureState.STARTING:
                raise UsageError("the capture is still starting", "try again when it is live")
            if control.state in (CaptureState.STOPPING, CaptureState.ENDED):
                raise UsageError("the capture has ended: nothing can be probed", f"begin with -i '{spec}'")
            raise UsageError("the events come from another program, which does not take orders", "use --ssh")
        change = control.probe if verb == "probe" else control.unprobe
        self._asked.append((f"{verb} {spec}", change(spec)))
        self.look()

    def look(self) -> None:
        """Tell what was done, or how far it is."""
        for one in [one for one in self._asked if one[1].done()]:
            self._asked.remove(one)
            self._told = ""
            error = one[1].exception()
            if error is not None:
                self._fail(error)
            else:
                self._say(one[1].result())
        if self._asked and self._control is not None:
            text = f"{self._asked[0][0]}: {self._control.doing or 'asked'} …"
            if text != self._told:
                self._told = text
                self._say(text)


def callees(
    plan: Sequence[Instruction], calls: Iterable[Instruction], called: Callable[[Instruction], str | None]
) -> list[str]:
    """Return the functions that some instructions of ``plan`` call and that can be looked into.

    ``called`` tells where an indirect call went. Those with more than their entry probed are left out.
    """
    probed = Counter(one.symbol for one in plan if one.probe is ProbeState.ATTACHED)
    names: dict[str, None] = {}
    for one in calls:
        if one.call is None:
            continue
        name = _NAME.match((called(one) or "") if one.call.startswith("*") else one.call)
        if name and probed[name[0]] < 2 and not _NOISE.match(name[0]):
            names[name[0]] = None
    return list(names)


def went_to(trace: Trace, values: TraceValues, instruction: Instruction) -> str | None:
    """Return what an indirect call went to the last time it was executed; None where that is not known."""
    for numbers, _ in trace.chunks(len(trace) + 1, True, insns=[instruction.index]):
        return values.call(trace.event(int(numbers[-1])))
    return None


def function_at(plan: Sequence[Instruction], file: str, line: int) -> str | None:
    """Return the function that has the code of a source line, or of the nearest one above it in the plan."""
    above = sorted(
        (found, one.symbol)
        for one in plan
        for found in _lines(one, file)
        if found <= line and ".cold" not in one.symbol
    )
    return above[-1][1] if above else None


def of_line(plan: Sequence[Instruction], file: str, line: int) -> list[Instruction]:
    """Return the instructions of a source line, those of functions inlined there included."""
    return [one for one in plan if line in _lines(one, file)]


def _lines(instruction: Instruction, file: str) -> Iterator[int]:
    if instruction.source is not None and instruction.source.file == file:
        yield instruction.source.line
    for frame in instruction.inlined_by:
        if frame.file == file:
            yield frame.line
