"""Plans that change while a capture runs: what is added keeps every index that events refer to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.plan import Plan, PlannedFunction
from ktcpdump_tui.model import Instruction, ProbeState

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

#: Why a probe that was there is no more (Instruction.refusal).
REMOVED: Final = "removed while the capture ran"


def merged(old: Plan, new: Plan, numbers: Iterator[int]) -> Plan:
    """Return ``old`` with what ``new`` asks for beyond it.

    Instructions of ``old`` keep their index and what is known of them; further ones are appended. Functions
    of ``new`` that ``old`` has not get a number from ``numbers``.
    """
    instructions = list(old.instructions)
    function_of = list(old.function_of)
    index_at = {one.address: one.index for one in instructions}
    functions = {one.symbol.address: one for one in old.functions}
    for function in new.functions:
        before = functions.get(function.symbol.address)
        if before is not None and not function.leaves and _entry_is_probed(before, instructions, index_at):
            continue  # only the entry is asked for, which may be probed behind the function tracer's nop
        number = next(numbers) if before is None else before.number
        indices = []
        for one in (new.instructions[index] for index in function.instructions):
            known = index_at.get(one.address)
            if known is None:
                known = index_at[one.address] = len(instructions)
                instructions.append(replace(one, index=known))
                function_of.append(number)
            elif instructions[known].probe is ProbeState.LEFT_OUT and one.probe is not ProbeState.LEFT_OUT:
                instructions[known] = replace(instructions[known], probe=one.probe, refusal=one.refusal)
            indices.append(known)
        functions[function.symbol.address] = _joined(before, function, number, indices)
    asked = dict(old.asked) | new.asked
    return Plan(tuple(functions.values()), tuple(instructions), tuple(function_of), asked)


def without(plan: Plan, addresses: Container[int]) -> Plan:
    """Return ``plan`` without the probes on ``addresses``; their instructions stay, events refer to them."""
    return replace(
        plan,
        instructions=tuple(
            replace(one, probe=ProbeState.LEFT_OUT, refusal=REMOVED)
            if one.probe is ProbeState.ATTACHED and one.address in addresses
            else one
            for one in plan.instructions
        ),
    )


def renumbered(plan: Plan, numbers: dict[int, int]) -> Plan:
    """Return ``plan`` with other numbers for some functions: {number: new number}."""
    if not numbers:
        return plan
    return replace(
        plan,
        functions=tuple(replace(one, number=numbers.get(one.number, one.number)) for one in plan.functions),
        function_of=tuple(numbers.get(number, number) for number in plan.function_of),
    )


def _entry_is_probed(
    function: PlannedFunction, instructions: list[Instruction], index_at: dict[int, int]
) -> bool:
    index = index_at.get(function.entry)
    return index is not None and instructions[index].probe is ProbeState.ATTACHED


def _joined(
    before: PlannedFunction | None, function: PlannedFunction, number: int, indices: list[int]
) -> PlannedFunction:
    if before is None:
        return replace(function, number=number, instructions=tuple(indices))
    return replace(
        before,
        # that of the whole function, which everything else is reached through
        entry=function.entry if function.leaves else before.entry,
        parts=tuple(dict.fromkeys((*before.parts, *function.parts))),
        leaves=tuple(sorted({*before.leaves, *function.leaves})),
        arguments=before.arguments or function.arguments,
        known=before.known or function.known,
        instructions=tuple(sorted({*before.instructions, *indices})),
    )
