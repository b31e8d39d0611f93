"""Header, plan and summary as JSON: what a trace file and the frame stream both store.

Unknown keys are ignored and missing ones take the record's default, so that a program reads traces of an
older and of a slightly newer one alike.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, TypeVar

from ktcpdump_tui.model import (
    Flow,
    FrameRule,
    InlineFrame,
    Instruction,
    ProbeState,
    SourceLine,
    Summary,
    TraceHeader,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_R = TypeVar("_R", TraceHeader, Summary)

#: The longest stack window a trace may announce (a whole kernel stack; arch.STACK_SIZE).
MAX_STACK_BYTES = 16384


def header_to_json(header: TraceHeader) -> str:
    """Return the header as a JSON object."""
    return json.dumps(dataclasses.asdict(header), ensure_ascii=False)


def header_from_json(text: str | bytes) -> TraceHeader:
    """Return the header stored as ``text``; ValueError where that is not one."""
    header = _record(TraceHeader, text)
    if not isinstance(header.stack_bytes, int) or not 0 <= header.stack_bytes <= MAX_STACK_BYTES:
        raise ValueError(f"a stack window of {header.stack_bytes!r} bytes")
    return header


def summary_to_json(summary: Summary) -> str:
    """Return the summary as a JSON object."""
    return json.dumps(dataclasses.asdict(summary), ensure_ascii=False)


def summary_from_json(text: str | bytes) -> Summary:
    """Return the summary stored as ``text``; ValueError where that is not one."""
    return _record(Summary, text)


def loads(text: str | bytes) -> Any:
    """Return the JSON value in ``text``; ValueError where it is none, or nests too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


#: What the annotations of the stored records allow, by their first word.
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "tuple": (list,), "dict": (dict,)}


def _record(kind: type[_R], text: str | bytes) -> _R:
    values = loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} is not an object")
    known: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        if item.name in values:
            value = values[item.name]
            wanted = _TYPES[str(item.type).split("[")[0].split(" ")[0]]
            if not isinstance(value, wanted) and not (value is None and "None" in str(item.type)):
                raise ValueError(f"{item.name} is {value!r:.60}")
            known[item.name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**known)
    except TypeError as error:
        raise ValueError(str(error)) from error


def plan_to_json(instructions: Sequence[Instruction]) -> str:
    """Return the plan as JSON: ``strings``, a table of all texts, and one array per instruction.

    The order of an instruction's fields is ``FIELDS``; source, inline chain and frame rule are arrays.
    """
    strings: dict[str | None, int] = {}

    def text(value: str | None) -> int:
        return strings.setdefault(value, len(strings))

    rows = []
    for insn in instructions:
        source, frame = insn.source, insn.frame
        rows.append([
            insn.address, text(insn.symbol), insn.offset, text(insn.module), insn.code.hex(), text(insn.text),
            text(insn.flow.value), insn.target, text(insn.call),
            [text(source.file), source.line, source.column, int(source.is_stmt)] if source else None,
            [[text(f.function), text(f.file), f.line] for f in insn.inlined_by],
            [frame.register, frame.offset, int(frame.indirect)] if frame else None,
            text(insn.probe.value), text(insn.refusal),
        ])  # fmt: skip
    return json.dumps({"fields": FIELDS, "strings": list(strings), "rows": rows}, ensure_ascii=False)


#: The order of an instruction's values in the stored plan.
FIELDS = [
    "address", "symbol", "offset", "module", "code", "text", "flow", "target", "call",
    "source", "inlined_by", "frame", "probe", "refusal",
]  # fmt: skip


def plan_from_json(text: str | bytes) -> list[Instruction]:
    """Return the instructions stored as ``text``; ValueError where that is not a plan."""
    try:
        stored = loads(text)
        strings: list[Any] = stored["strings"]
        at = {name: position for position, name in enumerate(stored["fields"])}
        order = [at[name] for name in FIELDS]
        frames: dict[tuple[int, int, int], InlineFrame] = {}
        lines: dict[tuple[int, int, int, int], SourceLine] = {}
        rules: dict[tuple[int, int, int], FrameRule] = {}
        # Calling an enum takes as long as making an instruction does.
        flows, probes = {one.value: one for one in Flow}, {one.value: one for one in ProbeState}
        plan = []
        in_order = order == list(range(len(FIELDS)))
        for index, stored_row in enumerate(stored["rows"]):
            row = stored_row if in_order else [stored_row[position] for position in order]
            source = None
            if row[9] is not None:
                key = tuple(row[9])
                source = lines.get(key) or lines.setdefault(
                    key, SourceLine(strings[key[0]], key[1], key[2], bool(key[3]))
                )
            rule = None
            if row[11]:
                numbers = tuple(row[11])
                rule = rules.get(numbers) or rules.setdefault(
                    numbers, FrameRule(numbers[0], numbers[1], bool(numbers[2]))
                )
            chain = []
            for level in row[10]:
                name = tuple(level)
                chain.append(
                    frames.get(name)
                    or frames.setdefault(name, InlineFrame(strings[name[0]], strings[name[1]], name[2]))
                )
            plan.append(
                Instruction(
                    index=index,
                    address=int(row[0]),
                    symbol=str(strings[row[1]]),
                    offset=int(row[2]),
                    module=strings[row[3]],
                    code=bytes.fromhex(row[4]),
                    text=strings[row[5]],
                    flow=flows[strings[row[6]]],
                    target=row[7],
                    call=strings[row[8]],
                    source=source,
                    inlined_by=tuple(chain),
                    frame=rule,
                    probe=probes[strings[row[12]]],
                    refusal=strings[row[13]],
                )
            )
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"the plan is damaged ({error!r})") from error
    return plan
