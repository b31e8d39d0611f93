"""The call chain at an event as fields. Called outside the interface's thread."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ktcpdump_tui.trace.backtrace import Level
from ktcpdump_tui.tui.fields import Field, Tone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.trace.backtrace import Unknown


def stack_fields(chain: Sequence[Level | Unknown]) -> tuple[Field, ...]:
    """Return a numbered line for each frame, as gdb numbers them, and one for each gap.

    A frame keeps its key from event to event, so that what changed is the line it has got to.
    """
    fields: list[Field] = []
    number = gaps = 0
    seen: dict[str, int] = {}
    # Inline levels are counted from the frame's own function: what is inlined in it changes all the time.
    levels: dict[int | None, int] = {}
    for one in chain:
        if isinstance(one, Level):
            levels[one.cfa] = levels.get(one.cfa, 0) + 1
    for one in chain:
        if not isinstance(one, Level):
            gaps += 1
            fields.append(Field("…", one.why, f"gap {gaps}", Tone.ABSENT))
            continue
        key = one.function
        if one.cfa is not None:
            levels[one.cfa] -= 1
            key = f"{one.cfa:x} {levels[one.cfa]} {one.function}"
        seen[key] = seen.get(key, 0) + 1
        fields.append(_field(one, number, f"{key} {seen[key]}"))
        number += 1
    return tuple(fields)


def where_before(fields: Sequence[Field]) -> tuple[Field, ...]:
    """Return the fields with only the line a frame was at before: its function is the same."""
    return tuple(replace(one, was=one.was.partition(" at ")[2] or None) if one.was else one for one in fields)


def _field(one: Level, number: int, key: str) -> Field:
    # The last folder is enough to tell files apart beside the function: lines are to be seen in 48 columns.
    place = f" at {'/'.join(one.file.split('/')[-2:])}:{one.line}" if one.file else ""
    note = "inlined" if one.inlined else one.ksym
    if not one.open:
        note = "may have returned"
    tone = Tone.NORMAL if one.open else Tone.ABSENT
    leads_to = None if one.no is None else (one.no, one.up)
    return Field(
        f"#{number}" if one.open else "?", one.function + place, key, tone, note=note, leads_to=leads_to
    )
