"""Probes that come and go while a capture runs.

The plan only grows: an instruction keeps its index, because events refer to it. What is armed is the
difference between the probes that the plan before and the plan after need, exits and entries that only keep
track of frames included. Events are made from the moment their instruction is known to the program; a frame
that was entered before its function was probed has no packet, and makes none.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.entries import ProbeSet, probe_set
from ktcpdump_tui.capture.merge import merged, renumbered, without
from ktcpdump_tui.capture.program import InstructionFlag
from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.model import ProbeState
from ktcpdump_tui.trace import blobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.capture.attach import KprobeEvents, ProbeEvent
    from ktcpdump_tui.capture.plan import Plan
    from ktcpdump_tui.capture.program import Program
    from ktcpdump_tui.capture.target import TargetKernel
    from ktcpdump_tui.trace.sink import TraceSink

    Progress = Callable[[str, int, int], None]

#: Functions may be numbered up to this: frames hold 16 bits (bpf/trace.c: struct frame).
MOST_FUNCTIONS: Final = 1 << 16


@dataclass(slots=True)
class Prober:
    """Changes a running capture. Used by one thread at a time.

    ``plan`` and ``probes`` are what is in force; ``attached`` maps each kprobe's address to its BPF function;
    ``most`` is the number of probes allowed.
    """

    kernel: TargetKernel
    program: Program
    events: KprobeEvents
    sink: TraceSink
    plan: Plan
    probes: ProbeSet
    most: int
    progress: Progress
    cancelled: Callable[[], bool]
    messages: list[str] = field(default_factory=list)
    attached: dict[int, str] = field(default_factory=dict)
    _changes: int = 0
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    #: Functions whose entry the function tracer hooks: their address, and the entry's.
    _hooked: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Remember what the first plan has."""
        self._numbers = itertools.count(len(self.plan.functions))
        entries = {one.symbol.address: one.entry for one in self.plan.functions}
        self.attached = {
            address: name for name in ("on_entry", "on_instruction") for address in self.events.attached(name)
        }
        self._hooked = {start: entries[start] for start in self.probes.tracer}

    # ---- adding

    def probe(self, spec: str) -> str:
        """Add the probes of ``spec``; return what was done in one sentence.

        Raises UsageError and UserError, and leaves everything as it was.
        """
        self.progress(f"looking up {spec}", 0, 0)
        before = self.plan
        plan = merged(before, self.kernel.plan_of([spec], self.most), self._numbers)
        asked = [one for one in plan.instructions if _is_new(one.index, before, plan)]
        if not asked:
            raise UsageError(f"probe {spec}: all of it is probed already", f":unprobe {spec} ends that")
        self._check_budget(spec, plan)
        now = self._probe_set(plan)
        plan = plan.refused(now.unknown_frames)
        made: list[ProbeEvent] = []
        try:
            refused = self._define(now, made)
            plan = plan.refused(refused)
            if not any(_is_new(one.index, before, plan) and _attached(plan, one.index) for one in asked):
                reasons = sorted({plan.instructions[one.index].refusal or "" for one in asked})
                raise UserError(f"probe {spec}: the kernel refuses all of it: {'; '.join(reasons)}")
            self.progress("looking up the source lines", 0, 0)
            plan = self._annotated(before, plan)
            self._write(plan, self._tables(before, plan))
            self._arm(now, made)
        except BaseException:
            self._withdraw(made, now)
            self._forget_new(before, plan)
            raise
        for one in made:
            self.attached |= dict.fromkeys(one.attached, _program(one.name))
        self.plan, self.probes = plan, now
        return self._added(spec, before, plan)

    def _check_budget(self, spec: str, plan: Plan) -> None:
        total = sum(one.probe is ProbeState.ATTACHED for one in plan.instructions)
        if total > self.most:
            raise UsageError(
                f"probe {spec}: that makes {total:,} probes, and --max-probes allows {self.most:,}",
                "ask for less (symbol:* probes lines instead of instructions), or :unprobe something",
            )
        if any(one.number >= MOST_FUNCTIONS for one in plan.functions):
            raise UserError(f"probe {spec}: the capture has been changed too often", "start it again")

    def _probe_set(self, plan: Plan) -> ProbeSet:
        now = probe_set(plan, self.kernel.leaves_of, hooked=self._hooked)
        # An entry that was probed behind the tracer's nop (a survey's) stays what it is: one more place where
        # the packet is known by its argument, beside the function's real entry.
        for address in [one for one in now.others if self.attached.get(one) == "on_entry"]:
            now.others.remove(address)
            now.entries.append(address)
            flags = now.table[address].flags & InstructionFlag.HIDDEN
            now.table[address] = replace(self.probes.table[address], flags=flags)
        new = len({*now.entries, *now.others} - self.attached.keys())
        if new > self.most:
            raise UsageError(
                f"following the frames of {new:,} more places would be needed, "
                f"and --max-probes allows {self.most:,}",
                "end the survey first, or raise --max-probes",
            )
        return now

    def _define(self, now: ProbeSet, made: list[ProbeEvent]) -> dict[int, str]:
        """Define the kprobes that are new; return what the kernel refuses."""
        self._changes += 1
        refused: dict[int, str] = {}

        def tell(done: int, of: int) -> None:
            self.progress("defining probes", done, of)

        # exits before entries: a frame that is remembered has to be forgotten
        for function, addresses in (("on_instruction", now.others), ("on_entry", now.entries)):
            new = [one for one in addresses if one not in self.attached]
            if new:
                name = f"{function}_at_{self._changes}_"
                made.append(event := self.events.define(name, new, tell, self.cancelled))
                refused |= event.refused
        lost = [one.function for one in self.plan.functions if one.entry in refused]
        self.messages += [f"{name}: no packet is known in it, the kernel refuses its entry" for name in lost]
        return refused

    def _arm(self, now: ProbeSet, made: list[ProbeEvent]) -> None:
        old = self.probes.table
        self.program.load_instructions(entry for key, entry in now.table.items() if key not in old)
        for one in made:
            self.events.attach({one.name: self.program.functions[_program(one.name)]})
        # an entry known before begins to remember frames only now that its exits are watched
        self.program.load_instructions(
            entry for key, entry in now.table.items() if key in old and entry.pack() != old[key].pack()
        )

    def _withdraw(self, made: list[ProbeEvent], now: ProbeSet) -> None:
        """Take back what was begun: the program, then the probes."""
        old = self.probes.table
        self.program.load_instructions(old[key] for key in now.table if key in old)
        self.program.forget_instructions(key for key in now.table if key not in old)
        for one in made:
            self.events.withdraw(list(one.attached))

    def _forget_new(self, before: Plan, plan: Plan) -> None:
        """Keep what was added to the plan, unprobed: its indices may have been in events for a moment."""
        new = {one.address for one in plan.instructions if _is_new(one.index, before, plan)}
        left = without(plan, new)
        numbers = {one.number: next(self._numbers) for one in left.functions if one not in before.functions}
        for number in numbers:
            self.program.retire(number)
        self.plan = renumbered(left, numbers)
        self.sink.write_plan(self.plan.instructions)

    def _annotated(self, before: Plan, plan: Plan) -> Plan:
        new = plan.instructions[len(before.instructions) :]
        known = {one.index: one for one in self.kernel.symbols.annotate(new)} if new else {}
        return replace(plan, instructions=tuple(known.get(one.index, one) for one in plan.instructions))

    def _tables(self, before: Plan, plan: Plan) -> dict[str, bytes]:
        """Return the variables of functions of which more is in the plan now, as tables of their own."""
        old = {one.symbol.address: one for one in before.functions}
        changed = [one for one in plan.functions if old.get(one.symbol.address) != one]
        asked = [plan.instructions[index] for one in changed for index in one.instructions]
        tables = self.kernel.tables_of(asked)
        return {f"{blobs.variables_of(name)}:{self._changes}": data for name, data in tables.items()}

    def _write(self, plan: Plan, tables: dict[str, bytes]) -> None:
        for name, data in tables.items():
            self.sink.put_blob(name, data)
        self.sink.write_plan(plan.instructions)
        self.sink.flush()

    def _added(self, spec: str, before: Plan, plan: Plan) -> str:
        new = [plan.instructions[one.index] for one in plan.instructions if _is_new(one.index, before, plan)]
        attached = sum(one.probe is ProbeState.ATTACHED for one in new)
        refused = sum(one.probe is ProbeState.REFUSED for one in new)
        text = f"{spec}: {_probes(attached)} attached"
        return f"{text}, {refused} refused" if refused else text

    # ---- removing

    def unprobe(self, spec: str) -> str:
        """Remove the probes that ``spec`` asks for; return what was done in one sentence."""
        self.progress(f"looking up {spec}", 0, 0)
        asked = self.kernel.plan_of([spec])
        wanted = set(asked.addresses)
        functions = {one.symbol.address: one for one in self.plan.functions}
        for one in asked.functions:
            if one.entry in wanted and (known := functions.get(one.symbol.address)):
                wanted.add(known.entry)
        gone = {one.address for one in self.plan.instructions if one.probe is ProbeState.ATTACHED} & wanted
        if not gone:
            raise UsageError(
                f"unprobe {spec}: nothing of it is probed", "the gutter shows which lines have a probe"
            )
        now = self._probe_set(plan := without(self.plan, gone))
        retired = self._frames(self.probes) - self._frames(now)
        self.progress("removing probes", 0, 0)
        self.program.load_instructions(
            entry
            for key, entry in now.table.items()
            if key not in self.probes.table or entry.pack() != self.probes.table[key].pack()
        )
        self.program.forget_instructions(key for key in self.probes.table if key not in now.table)
        for number in retired:
            self.program.retire(number)
        needed = {*now.entries, *now.others}
        idle = [address for address in self.attached if address not in needed]
        self.events.withdraw(idle)
        for address in idle:
            del self.attached[address]
        self.plan = renumbered(plan, {number: next(self._numbers) for number in retired})
        self.probes = self._probe_set(self.plan) if retired else now
        self._write(self.plan, {})
        left = self._left(asked)
        return f"{spec}: {_probes(len(gone))} removed" + (f", {left} of the function left" if left else "")

    def _frames(self, probes: ProbeSet) -> set[int]:
        """Return the numbers of the functions whose frames are remembered."""
        return {one.function for one in probes.table.values() if one.flags & InstructionFlag.PUSH}

    def _left(self, asked: Plan) -> int:
        functions = {one.symbol.address: one for one in self.plan.functions}
        known = [functions[one.symbol.address] for one in asked.functions if one.symbol.address in functions]
        return sum(_attached(self.plan, index) for one in known for index in one.instructions)


def _program(name: str) -> str:
    """Return the BPF function of probes called ``name`` (KprobeEvents.define)."""
    return name.partition("_at_")[0]


def _attached(plan: Plan, index: int) -> bool:
    return plan.instructions[index].probe is ProbeState.ATTACHED


def _is_new(index: int, before: Plan, plan: Plan) -> bool:
    """Tell whether an instruction is asked for in ``plan`` and was not in ``before``."""
    was = before.instructions[index].probe if index < len(before.instructions) else ProbeState.LEFT_OUT
    return was is ProbeState.LEFT_OUT and plan.instructions[index].probe is not ProbeState.LEFT_OUT


def _probes(number: int) -> str:
    return "1 probe" if number == 1 else f"{number:,} probes"
