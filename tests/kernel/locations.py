"""Where a variable has a place, as pyelftools reads the location lists: a witness beside our own reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elftools.dwarf.locationlists import BaseAddressEntry, LocationEntry, LocationParser

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE

    from ktcpdump_tui.debuginfo.image import DebugImage


def places_of(image: DebugImage, function: str, variable: str) -> list[tuple[int, int]]:
    """Return the link-time [low, high) at which a function's own variable or parameter has a place."""
    address = image.symbols.named(function)[0].address
    unit = image.units.at(address)
    assert unit
    compile_unit = image.dwarf.get_CU_at(unit.offset)
    (subprogram,) = [
        die
        for die in compile_unit.iter_DIEs()
        if die.tag == "DW_TAG_subprogram"
        and "DW_AT_low_pc" in die.attributes
        and die.attributes["DW_AT_low_pc"].value == address
    ]
    (declared,) = [die for die in subprogram.iter_children() if _name(die) == variable]
    location = declared.attributes.get("DW_AT_location")
    assert location is not None, f"{variable} was not kept anywhere"
    parser = LocationParser(image.dwarf.location_lists())
    base = _base(compile_unit)
    ranges = []
    for entry in parser.parse_from_attribute(location, compile_unit["version"], declared):
        if isinstance(entry, BaseAddressEntry):
            base = entry.base_address
        elif isinstance(entry, LocationEntry) and entry.loc_expr:
            shift = 0 if entry.is_absolute else base
            ranges.append((entry.begin_offset + shift, entry.end_offset + shift))
    return ranges


def _base(unit: CompileUnit) -> int:
    low = unit.get_top_DIE().attributes.get("DW_AT_low_pc")
    return low.value if low is not None else 0


def _name(die: DIE) -> str | None:
    while "DW_AT_name" not in die.attributes and "DW_AT_abstract_origin" in die.attributes:
        die = die.get_DIE_from_attribute("DW_AT_abstract_origin")
    name = die.attributes.get("DW_AT_name")
    return name.value.decode() if name is not None else None
