"""What is known of the traced functions. Nothing here knows the screen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.model import ProbeState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ktcpdump_tui.model import Instruction

#: What gcc and clang add to a function's name where they split or specialise it.
_SUFFIX: Final = re.compile(r"\.(isra|constprop|part|cold|llvm)\b.*$")

_WORD: Final = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Function:
    """A function with instructions in the plan.

    ``name`` is what the source calls it; ``symbol`` and ``module`` name it in the kernel, empty for one that
    is only inlined, ``within`` then being the functions that hold it. ``line`` is the first line known of it.
    """

    name: str
    symbol: str
    module: str | None
    file: str
    line: int
    probes: int
    refused: int
    instructions: frozenset[int]
    within: tuple[str, ...] = ()


def functions(plan: Sequence[Instruction]) -> list[Function]:
    """Return the functions of a plan, those that are only inlined too, by name."""
    real: dict[tuple[str | None, str], list[Instruction]] = {}
    inlined: dict[str, list[Instruction]] = {}
    for instruction in plan:
        real.setdefault((instruction.module, instruction.symbol), []).append(instruction)
        for frame in instruction.inlined_by[:-1]:
            inlined.setdefault(frame.function, []).append(instruction)
    result = [_real(module, symbol, members) for (module, symbol), members in real.items()]
    known = {function.name for function in result}
    result += [_inlined(name, members) for name, members in inlined.items() if name not in known]
    return sorted(result, key=lambda function: (function.name, function.symbol))


def named_on(text: str, known: Iterable[Function]) -> list[Function]:
    """Return the functions that a source line names, in the order of the line."""
    by_name: dict[str, Function] = {}
    for function in known:
        by_name.setdefault(function.name, function)
    found = (by_name.get(word) for word in dict.fromkeys(_WORD.findall(text)))
    return [function for function in found if function is not None]


def _real(module: str | None, symbol: str, members: Sequence[Instruction]) -> Function:
    places = [frame for i in members for frame in i.inlined_by[-1:]]
    own = [i.source for i in members if i.source is not None and i.source.line and len(i.inlined_by) < 2]
    first = min(own, key=lambda source: source.line, default=None)
    file, line = (
        (first.file, first.line) if first else (places[0].file, places[0].line) if places else ("", 0)
    )
    return Function(_SUFFIX.sub("", symbol), symbol, module, file, line, *_probes(members))


def _inlined(name: str, members: Sequence[Instruction]) -> Function:
    places = [frame for i in members for frame in i.inlined_by if frame.function == name and frame.line]
    first = min(places, key=lambda frame: frame.line, default=None)
    within = tuple(dict.fromkeys(i.symbol for i in members))
    file, line = (first.file, first.line) if first else ("", 0)
    return Function(name, "", members[0].module, file, line, *_probes(members), within)


def _probes(members: Sequence[Instruction]) -> tuple[int, int, frozenset[int]]:
    states = [instruction.probe for instruction in members]
    indices = frozenset(instruction.index for instruction in members)
    return states.count(ProbeState.ATTACHED), states.count(ProbeState.REFUSED), indices
