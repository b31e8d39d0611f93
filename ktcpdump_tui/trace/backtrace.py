"""The call chain at an event, as gdb's ``bt`` has it: from what was recorded, nothing found by scanning.

The return address is the word below the CFA (System V ABI for x86-64, figure 3.3). It is read from the
stack window of the event, or of an earlier event in a frame that is still open. Where it leads behind a call
of the plan, that call's frame rule gives the caller's CFA, and so on; else it only has a name, and the
caller's own frame is not known.

Beyond such a caller a traced function is a frame of the chain if it provably has not returned: each place
where it could be left has a probe, none of them came, and no event was lost. It provably has returned if
another return address stands in its place. (The same one proves nothing: the next function called from there
would have it too.) A traced function of which neither can be said is listed as one that may have returned.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui import arch
from ktcpdump_tui.model import Flow, InlineFrame, ProbeState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ktcpdump_tui.model import Event, Instruction, Memory
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace

_WORD: Final = 8
_STACK_SHIFT: Final = np.uint64(arch.STACK_SIZE.bit_length() - 1)

#: A function's entry is its first instruction, or the one behind a 4-byte endbr64 (IBT).
_ENTRY_OFFSETS: Final = (0, 4)

#: Blocks with events of the packet that are looked at, from the event backwards; packets it was made from.
_LOOK_BACK: Final = 16
_ANCESTORS: Final = 8

#: Longest chain: a stack that holds something else must not lead on for ever.
_MOST: Final = 256

_TRANSFERS: Final = (Flow.JUMP, Flow.BRANCH)


@dataclass(frozen=True, slots=True)
class Level:
    """A frame of the chain, or one level of its inline chain.

    ``file`` and ``line`` are where it is being executed: in a caller the call. They are None and 0 where only
    the address is known; ``function`` is then ``symbol+OFFSET``. ``ksym`` is the instruction's, for frames of
    their own (not ``inlined`` ones). ``no`` is the event to go to, ``up`` the level of its inline chain,
    ``cfa`` the frame's address; None where not known. ``open`` is False where it may have returned.
    """

    function: str
    file: str | None = None
    line: int = 0
    ksym: str = ""
    inlined: bool = False
    no: int | None = None
    up: int = 0
    cfa: int | None = None
    open: bool = True


@dataclass(frozen=True, slots=True)
class Unknown:
    """A place of the chain of which nothing is known, and why; frames may lie there."""

    why: str


@dataclass(slots=True)
class _Traced:
    """A traced frame that was entered, and whose return was not seen: its first and last event."""

    cfa: int
    entered: int | None
    last: int
    instruction: Instruction
    windows: list[Memory] = field(default_factory=list)


def backtrace(
    trace: Trace, event: Event, symbolise: Callable[[int], str | None]
) -> tuple[Level | Unknown, ...]:
    """Return the chain from the event's instruction outwards; ``symbolise`` names an address of code."""
    return tuple(_Chain(trace, event, symbolise).levels())


class _Chain:
    def __init__(self, trace: Trace, event: Event, symbolise: Callable[[int], str | None]) -> None:
        self._trace, self._event, self._symbolise = trace, event, symbolise
        self._windows = [event.memory]
        self._traced = self._open_frames() if event.cfa is not None else []
        self._calls: dict[int, Instruction] | None = None

    def levels(self) -> Iterator[Level | Unknown]:
        event = self._event
        yield from _frame(event.instruction, event.no, event.instruction, event.cfa)
        if event.cfa is None:
            yield Unknown("not captured: where the frame is at this instruction is not known")
            return
        own = [one for one in self._traced if one.cfa == event.cfa]
        if own:
            self._enter(own[0])
        cfa: int | None = event.cfa
        for _ in range(_MOST):
            assert cfa is not None
            self._traced = [one for one in self._traced if one.cfa > cfa]
            address = self._word(cfa - _WORD)
            call = self._call_before(address) if address else None
            if call is not None and (outer := _caller_cfa(call, cfa)) is not None:
                self._traced = [one for one in self._traced if one.cfa >= outer]
                cfa = outer
                known = self._take(outer, call)
                yield from _frame(
                    call, known.last if known else None, known.instruction if known else None, cfa
                )
                continue
            if address is None:
                kept = self._trace.header.stack_bytes
                yield Unknown(f"not captured: beyond the {kept} bytes kept of the stack")
            elif (entry := self._entry_of(address)) is not None:
                # Only its entry is in the plan, which says where its frame is.
                yield from self._named(address, entry)
                cfa = entry.cfa
                continue
            else:
                yield from self._named(address, None)
            cfa = yield from self._across(address is not None)
            if cfa is None:
                return

    def _across(self, named: bool) -> Generator[Level | Unknown, None, int | None]:
        """Go on at the next traced frame that is open, and return its CFA; None where there is none."""
        may: list[_Traced] = []
        found = None
        for one in self._traced:
            is_open = self._is_open(one)
            if is_open:
                found = one
                break
            if is_open is None:
                may.append(one)
        if found is None and not may:
            if named:
                yield Unknown("not captured from here on")
            return None
        if named:
            yield Unknown("not captured: maybe more frames here")
        for one in may:
            yield from (
                _closed(level) for level in _frame(one.instruction, one.last, one.instruction, one.cfa)
            )
        if found is None:
            return None
        self._enter(found)
        yield from _frame(found.instruction, found.last, found.instruction, found.cfa)
        return found.cfa

    def _named(self, address: int, known: _Traced | None) -> Iterator[Level]:
        name = self._symbolise(address) or f"{address:#x}"
        if known is None:
            yield Level(name)
            return
        self._enter(known)
        yield Level(name, no=known.last, cfa=known.cfa)

    # ---- what is on the stack

    def _word(self, at: int) -> int | None:
        for window in self._windows:
            if (word := window.read(at, _WORD)) is not None:
                return int.from_bytes(word, "little")
        return None

    def _call_before(self, address: int) -> Instruction | None:
        """Return the call of the plan that returns to ``address``."""
        if self._calls is None:
            self._calls = {i.address + len(i.code): i for i in self._trace.plan if i.flow is Flow.CALL}
        return self._calls.get(address)

    def _entry_of(self, address: int) -> _Traced | None:
        """Return the traced frame next outwards if ``address`` lies in its function."""
        name = self._symbolise(address)
        if name is None or not self._traced:
            return None
        symbol, _, offset = name.partition("+")
        one = self._traced[0]
        insn = one.instruction
        start = address - int(offset) if offset.isdecimal() else address
        same = insn.symbol == symbol and insn.address - insn.offset == start
        return one if same and self._is_open(one) is not False else None

    def _is_open(self, one: _Traced) -> bool | None:
        """Tell whether a frame has certainly not returned, or certainly has; None where it is not known."""
        if _leaves(one.instruction):  # it ended in another function, if the jump was taken
            return False if one.instruction.flow is Flow.JUMP else None
        then = self._return_address(one)
        now = self._word(one.cfa - _WORD)
        if then is not None and now is not None and then != now:
            return False
        return True if self._exits_probed(one.instruction) and not self._trace.lost() else None

    def _return_address(self, one: _Traced) -> int | None:
        for window in self._windows_of(one):
            if (word := window.read(one.cfa - _WORD, _WORD)) is not None:
                return int.from_bytes(word, "little")
        return None

    def _windows_of(self, one: _Traced) -> list[Memory]:
        if not one.windows:
            numbers = [one.last] if one.entered in (None, one.last) else [one.last, one.entered]
            one.windows = [self._trace.event(no).memory for no in numbers if no is not None]
        return one.windows

    def _enter(self, one: _Traced) -> None:
        """Read the stack from the windows of a frame's events too."""
        self._windows = [*self._windows, *self._windows_of(one)]

    def _exits_probed(self, insn: Instruction) -> bool:
        exits = [
            one
            for one in self._trace.plan
            if one.module == insn.module
            and _whole(one) == _whole(insn)
            and (one.flow is Flow.RETURN or _leaves(one))
        ]
        return bool(exits) and all(one.probe is ProbeState.ATTACHED for one in exits)

    # ---- what was traced

    def _take(self, cfa: int, call: Instruction) -> _Traced | None:
        """Return the traced frame at ``cfa``, if it is the one that made this call."""
        for one in self._traced:
            insn = one.instruction
            if one.cfa == cfa and (insn.module, _whole(insn)) == (call.module, _whole(call)):
                self._enter(one)
                return one
        return None

    def _open_frames(self) -> list[_Traced]:
        """Return the frames around the event's on its stack that were not seen to return, innermost first.

        Looking backwards, a frame is open if its CFA is above all that came after its last event. The
        event's own frame comes first.
        """
        event = self._event
        assert event.cfa is not None
        numbers, heads = self._before()
        cfas = heads["cfa"]
        stack = np.uint64(event.cfa - _WORD) >> _STACK_SHIFT
        on = np.flatnonzero((cfas != 0) & ((cfas - np.uint64(_WORD)) >> _STACK_SHIFT == stack))[::-1]
        backwards = cfas[on]
        highest = np.maximum.accumulate(np.append(np.uint64(event.cfa), backwards))[:-1]
        found = []
        for at in np.append(on[:1][backwards[:1] == event.cfa], on[backwards > highest]).tolist():
            insn = self._trace.instruction(int(heads["insn"][at]))
            if insn.flow is not Flow.RETURN:
                cfa = int(cfas[at])
                entered = self._entered(insn, numbers, heads, at)
                found.append(_Traced(cfa, entered, int(numbers[at]), insn))
        return found

    def _entered(self, insn: Instruction, numbers: Array, heads: Array, at: int) -> int | None:
        """Return the last event up to ``at`` at the function's entry with the same CFA."""
        entries = [
            one.index
            for one in self._trace.plan
            if one.offset in _ENTRY_OFFSETS and (one.module, one.symbol) == (insn.module, _whole(insn))
        ]
        same = np.flatnonzero(
            (heads["cfa"][: at + 1] == heads["cfa"][at]) & np.isin(heads["insn"][: at + 1], entries)
        )
        return int(numbers[same[-1]]) if len(same) else None

    def _before(self) -> tuple[Array, Array]:
        """Return the events up to this one of the packet and of those it was made from."""
        numbers, heads = [], []
        packet: int | None = self._event.packet_id
        for _ in range(_ANCESTORS):
            if packet is None:
                break
            chunks = self._trace.chunks(self._event.no + 1, reverse=True, packet=packet)
            for some, rows in itertools.islice(chunks, _LOOK_BACK):
                numbers.append(some)
                heads.append(rows)
            packet = self._parent(packet)
        joined = np.concatenate(numbers)
        order = np.argsort(joined, kind="stable")
        return joined[order], np.concatenate(heads)[order]

    def _parent(self, packet: int) -> int | None:
        try:
            return self._trace.packet(packet).parent
        except KeyError:
            return None


def _whole(insn: Instruction) -> str:
    """Return the function whose frame it is: a ``.cold`` part shares the one of the function it is of."""
    return insn.symbol.partition(".cold")[0]


def _leaves(insn: Instruction) -> bool:
    """Tell whether a jump goes to another function (a tail call)."""
    if insn.flow not in _TRANSFERS or insn.call is None:
        return False
    return insn.call.partition(".cold")[0] != _whole(insn)


def _caller_cfa(call: Instruction, cfa: int) -> int | None:
    """Return the CFA of the frame that made a call, from the called one's: its rsp before the call."""
    rule = call.frame
    if rule is None or rule.indirect or rule.register != arch.STACK_POINTER:
        return None
    return cfa + rule.offset


def _frame(insn: Instruction, no: int | None, at: Instruction | None, cfa: int | None) -> Iterator[Level]:
    """Yield the levels of one frame at ``insn``; ``at`` is the instruction of event ``no``."""
    chain: Sequence[InlineFrame] = insn.inlined_by
    if not chain:
        source = insn.source
        yield Level(insn.symbol, source.file if source else None, source.line if source else 0, insn.ksym,
                    no=no, cfa=cfa)  # fmt: skip
        return
    same = at is not None and [f.function for f in at.inlined_by] == [f.function for f in chain]
    for up, one in enumerate(chain):
        file, line = one.file, one.line
        if not up and insn.source is not None:
            file, line = insn.source.file, insn.source.line
        real = up == len(chain) - 1
        yield Level(one.function, file, line, insn.ksym if real else "", not real, no, up if same else 0, cfa)


def _closed(level: Level) -> Level:
    return Level(
        level.function,
        level.file,
        level.line,
        level.ksym,
        level.inlined,
        level.no,
        level.up,
        level.cfa,
        False,
    )
