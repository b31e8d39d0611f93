"""Where a function's skb is at its entry, for the compiler's variants (.isra, .constprop, .part) too.

BTF describes functions as the source has them; what the compiler made of the arguments of a variant only
the location lists of its own DW_TAG_subprogram tell (DWARF 5 sections 3.3.1 and 2.6.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.errors import reading
from ktcpdump_tui.debuginfo.units import subprogram_at
from ktcpdump_tui.debuginfo.variables.entries import Entries
from ktcpdump_tui.debuginfo.variables.lists import locations_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.debuginfo.image import DebugImage
    from ktcpdump_tui.debuginfo.variables.entries import Die

#: DW_OP_reg0 ... DW_OP_reg31 (DWARF 5 section 7.7.1).
_REG0: Final = 0x50
_REG31: Final = 0x6F
#: Qualifiers and typedefs between a pointer and the struct it means.
_TRANSPARENT: Final = frozenset(
    {dwarf.TAG_CONST_TYPE, dwarf.TAG_VOLATILE_TYPE, dwarf.TAG_TYPEDEF, dwarf.TAG_RESTRICT_TYPE}
)
_MOST_STEPS: Final = 16


def skb_parameters(image: DebugImage, address: int) -> tuple[tuple[str, int, bool], ...] | None:
    """Return (name, DWARF register, is a ``struct sk_buff **``) of each skb in a register at ``address``.

    ``address`` is the first of a function's code. None where the debug symbols do not know the function.
    Pointers come before pointers to pointers. Raises UserError on damaged debug information.
    """
    with reading(image.path, "parameters"):
        unit = image.units.at(address)
        offset = None if unit is None else subprogram_at(unit, address)
        if unit is None or offset is None:
            return None
        function = Entries(image.reader).unit(unit.offset).entry(offset)
        found = []
        for child in function.children():
            if child.tag != dwarf.TAG_FORMAL_PARAMETER:
                continue
            depth = _skb_depth(child)
            register = _register_at(child, address) if depth else None
            if register is not None:
                found.append((_name(child), register, depth == 2))
    return tuple(sorted(found, key=lambda one: one[2]))


def _origins(die: Die) -> Iterator[Die]:
    current: Die | None = die
    for _ in range(_MOST_STEPS):
        if current is None:
            return
        yield current
        current = current.refer(dwarf.AT_ABSTRACT_ORIGIN) or current.refer(dwarf.AT_SPECIFICATION)


def _name(die: Die) -> str:
    return next((name for one in _origins(die) if (name := one.text())), "")


def _skb_depth(parameter: Die) -> int:
    """Return 1 for ``struct sk_buff *``, 2 for ``struct sk_buff **``, else 0."""
    holder = next((one for one in _origins(parameter) if dwarf.AT_TYPE in one), None)
    kind = holder.refer(dwarf.AT_TYPE) if holder else None
    depth = 0
    for _ in range(_MOST_STEPS):
        if kind is None:
            return 0
        if kind.tag == dwarf.TAG_POINTER_TYPE:
            depth += 1
        elif kind.tag not in _TRANSPARENT:
            break
        kind = kind.refer(dwarf.AT_TYPE)
    is_skb = kind is not None and kind.tag == dwarf.TAG_STRUCTURE_TYPE and kind.text() == "sk_buff"
    return depth if is_skb and depth in (1, 2) else 0


def _register_at(parameter: Die, address: int) -> int | None:
    for span, expression in locations_of(parameter):
        here = span is None or span[0] <= address < span[1]
        if here and len(expression) == 1 and _REG0 <= expression[0] <= _REG31:
            return expression[0] - _REG0
    return None
