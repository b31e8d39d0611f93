"""From the plan to what the BPF program has to know, with the probes that only keep track of frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from ktcpdump_tui import arch
from ktcpdump_tui.capture.program import POINTER_TO, InstructionEntry, InstructionFlag
from ktcpdump_tui.kernel.text import NOP5
from ktcpdump_tui.model import FrameRule, Instruction, ProbeState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ktcpdump_tui.capture.plan import Plan, PlannedFunction

#: At a function's entry: rsp + 8 (the call has pushed the return address).
ENTRY_RULE = FrameRule(arch.STACK_POINTER, arch.ENTRY_CFA_OFFSET)


@dataclass(slots=True)
class ProbeSet:
    """``entries`` and ``others`` are the addresses for the two BPF functions; ``table`` is what they look up.

    ``tracer`` are functions whose entry is hooked through the function tracer instead of a kprobe.

    ``unknown_frames`` are asked instructions left out because no rule tells where their frame is.
    """

    entries: list[int] = field(default_factory=list)
    tracer: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    table: dict[int, InstructionEntry] = field(default_factory=dict)
    unknown_frames: dict[int, str] = field(default_factory=dict)


def probe_set(
    plan: Plan,
    leaves_of: Callable[[PlannedFunction], Sequence[Instruction]] = lambda _: (),
    multi: bool = False,
    hooked: Mapping[int, int] = MappingProxyType({}),
) -> ProbeSet:
    """Return the probes of ``plan``.

    A function of which more than the entry is probed needs its entry (to know the packet) and its exits (to
    know that the frame ended), asked for or not. Where functions without an skb are in the plan, that holds
    for every function: their packet is the nearest traced caller's. ``leaves_of`` gives the exits of a
    function of which only the entry is in the plan. ``multi`` has the function tracer hook the entries of
    such functions; ``hooked`` are those it hooks already: {function's address: its entry's}.
    """
    probes = ProbeSet()
    asked_of = {
        function.number: {
            one.address: one
            for one in (plan.instructions[index] for index in function.instructions)
            if one.probe is ProbeState.ATTACHED
        }
        for function in plan.functions
    }
    callers_matter = any(not one.arguments and asked_of[one.number] for one in plan.functions)
    for function in plan.functions:
        asked = asked_of[function.number]
        if not asked:
            continue
        by_address = {
            plan.instructions[index].address: plan.instructions[index] for index in function.instructions
        }
        inner = [address for address in asked if address != function.entry]
        leaves = {address: by_address[address] for address in function.leaves if address in by_address}
        if not inner and callers_matter and not leaves:
            leaves = {one.address: one for one in leaves_of(function)}
        frames = bool(inner) or bool(leaves and callers_matter)
        entry = asked.get(function.entry)
        if function.symbol.address in hooked:
            _add_tracer(probes, function, hooked[function.symbol.address], entry, frames)
        elif multi and not frames and entry is not None and entry.code == NOP5:
            _add_tracer(probes, function, entry.address, entry, frames)
        else:
            _add_entry(probes, function, entry, frames, function.entry in leaves)
        if not frames:
            continue
        for address in sorted({*inner, *leaves}):
            if address == function.entry:
                continue
            one = asked.get(address) or leaves.get(address)
            if one is None:
                continue
            flags = InstructionFlag(0)
            if address in leaves:
                flags |= InstructionFlag.LEAVES
            if address not in asked:
                flags |= InstructionFlag.HIDDEN
            if one.frame is None:
                if address in asked:
                    probes.unknown_frames[address] = "no unwind information says where its frame is"
                continue
            probes.others.append(address)
            probes.table[address] = _entry(one, function.number, one.frame, flags, ())
    return probes


def _add_entry(
    probes: ProbeSet, function: PlannedFunction, asked: Instruction | None, frames: bool, leaves: bool
) -> None:
    flags = InstructionFlag(0)
    if asked is None:
        flags |= InstructionFlag.HIDDEN
    if frames:
        flags |= InstructionFlag.PUSH
    if leaves:
        flags |= InstructionFlag.LEAVES
    if not function.arguments:
        flags |= InstructionFlag.NO_SKB
    index = asked.index if asked else 0
    probes.entries.append(function.entry)
    probes.table[function.entry] = InstructionEntry(
        function.entry,
        index,
        function.number,
        ENTRY_RULE.register,
        ENTRY_RULE.offset,
        flags,
        _arguments(function),
    )


def _add_tracer(
    probes: ProbeSet, function: PlannedFunction, entry: int, asked: Instruction | None, frames: bool
) -> None:
    """Add an entry that the function tracer hooks, at address ``entry``.

    It tells the function's address: the entry's distance from that takes the place of the CFA offset.
    """
    start = function.symbol.address
    flags = InstructionFlag(0) if function.arguments else InstructionFlag.NO_SKB
    if asked is None:
        flags |= InstructionFlag.HIDDEN
    if frames:
        flags |= InstructionFlag.PUSH
    probes.tracer.append(start)
    probes.table[start] = InstructionEntry(
        start,
        asked.index if asked else 0,
        function.number,
        ENTRY_RULE.register,
        entry - start,
        flags,
        _arguments(function),
    )


def _arguments(function: PlannedFunction) -> tuple[int, ...]:
    return tuple(one.register | (POINTER_TO if one.indirect else 0) for one in function.arguments[:2])


def _entry(
    one: Instruction, function: int, rule: FrameRule, flags: InstructionFlag, arguments: tuple[int, ...]
) -> InstructionEntry:
    if rule.indirect:
        flags |= InstructionFlag.INDIRECT
    return InstructionEntry(one.address, one.index, function, rule.register, rule.offset, flags, arguments)
