"""gdb is the oracle: every variable at every instruction of programs of every optimisation level."""

from __future__ import annotations

import shutil
from collections import defaultdict
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables import Variable, VariableTable, build_table, variables
from ktcpdump_tui.debuginfo.variables.operations import Op
from ktcpdump_tui.debuginfo.variables.places import ImplicitPointer, InPieces, Missing
from ktcpdump_tui.debuginfo.variables.types import Kind

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
#: Every compiler at every level, in DWARF 5 and 4.
BUILDS = [
    *(
        (compiler, f"-O{level}", f"-gdwarf-{version}", "-no-pie")
        for compiler in COMPILERS
        for version in (5, 4)
        for level in range(4)
    ),
    ("gcc", "-O2", "-gdwarf-5", "-pie", "-fPIE"),  # run-time addresses differ from those in the file
    ("gcc", "-O1", "-gdwarf-5", "-gdwarf64", "-no-pie"),
    ("gcc", "-Og", "-gdwarf-5", "-fno-omit-frame-pointer", "-no-pie"),
    ("gcc", "-O2", "-gdwarf-4", "-gstrict-dwarf", "-gz", "-no-pie"),
]

OPTIMISED_OUT = "<optimised out>"
NOT_CAPTURED = "<not captured>"


def as_numbers(value: Any) -> Any:
    """Return a value in the form gdb_oracle.render gives it."""
    kind = value.scalar
    if kind.is_structure:
        return [[one.name, as_numbers(one)] for one in value.members()]
    if kind.kind is Kind.ARRAY:
        return {"array": [as_numbers(value.index(number)) for number in range(min(kind.count or 0, 64))]}
    if isinstance(value.place, ImplicitPointer):
        return {"synthetic": as_numbers(value.dereference())}
    number = value.number()
    if isinstance(number, Missing):
        return str(number)
    if kind.is_float:
        return {"float": float(number).hex()}
    return number


class Comparison:
    """What gdb and we say of the variables at each stop; ``explained`` counts differences by cause."""

    def __init__(self, run: Any, entries_traced: bool = True) -> None:
        self.run = run
        self.entries_traced = entries_traced
        with DebugImage.open(run.path) as image:
            addresses = [stop.event.instruction.address - run.slide for stop in run.stops]
            built = build_table(image, addresses, run.slide)
        self.table = VariableTable.from_bytes(built.to_bytes())
        self.entries: dict[int, Any] = {}  # by frame address: the stop at the function's first instruction
        self.codeless = names_in_blocks_without_code(run.path)
        self.compared = 0
        self.entry_values = 0
        self.explained: dict[str, int] = defaultdict(int)
        self.differences: list[str] = []
        starts = {function.low + run.slide for function in self.table.functions}
        for stop in run.stops:
            if stop.event.instruction.address in starts:
                self.entries[stop.event.cfa] = stop
            self._stop(stop)

    def _stop(self, stop: Any) -> None:
        ours: dict[str, list[Variable]] = defaultdict(list)
        for one in variables(stop.event, self.table, self._entry_registers):
            ours[one.name].append(one)
        theirs: dict[str, list[Any]] = defaultdict(list)
        for name, *rest in stop.variables:
            theirs[name].append(rest)
        for name in ours.keys() | theirs.keys():
            self._variable(stop, name, ours[name], theirs[name])

    def _entry_registers(self, event: Any) -> tuple[int, ...] | None:
        entry = self.entries.get(event.cfa) if self.entries_traced else None
        return entry.event.regs if entry else None

    def _variable(self, stop: Any, name: str, ours: list[Variable], theirs: list[Any]) -> None:
        self.compared += len(theirs)
        if len(theirs) > len(ours) and name in self.codeless:
            # gdb counts variables of inner blocks that have no machine code at all as in scope everywhere.
            kept = [one for one in theirs if one[2] != OPTIMISED_OUT]
            dropped = [one for one in theirs if one[2] == OPTIMISED_OUT]
            known = {id(one) for one in kept}
            spare = len(theirs) - len(ours)
            if len(dropped) >= spare:
                removed = {id(one) for one in dropped[-spare:]}
                theirs = [one for one in theirs if id(one) in known or id(one) not in removed]
                self.explained["block without code"] += spare
        if [(one.function, one.is_parameter) for one in ours] != [(one[0], one[1]) for one in theirs]:
            self._differ(stop, name, [(one.function, one.is_parameter) for one in ours], theirs)
            return
        for mine, (_, _, value) in zip(ours, theirs, strict=True):
            self.entry_values += self._uses_entry_value(stop, mine)
            self._compare(stop, mine, as_numbers(mine.raw), value, mine.raw)

    def _compare(self, stop: Any, variable: Variable, mine: Any, value: Any, raw: Any) -> None:
        if mine == value:
            return
        if isinstance(mine, list) and isinstance(value, list) and len(mine) == len(value):
            for (_, left), (_, right), one in zip(mine, value, raw.members(), strict=True):
                self._compare(stop, variable, left, right, one)
            return
        cause = self._cause(stop, variable, mine, value, raw)
        if cause:
            self.explained[cause] += 1
        else:
            self._differ(stop, variable.name, mine, value)

    def _cause(self, stop: Any, variable: Variable, mine: Any, value: Any, raw: Any) -> str | None:
        if value == "<error Invalid floating value found in program.>":
            return "x87 bits before the variable was set, not a number"
        missing = variable.missing or raw.missing()
        if mine == NOT_CAPTURED and missing and missing.reason.startswith("DWARF register"):
            number = int(missing.reason.split()[2])
            assert number > 16  # the integer registers are all captured
            return "vector register, which an event does not hold"
        if mine == OPTIMISED_OUT and value in (0, {"float": (0.0).hex()}) and isinstance(raw.place, InPieces):
            place = raw.place
            covered = sum(piece.size for piece in place.pieces) - place.skip
            if covered < raw.shift + (raw.bits or raw.type.byte_size() * 8):
                return "beyond the last piece, where gdb shows 0"
        if mine == OPTIMISED_OUT and not self.entries_traced and self._uses_entry_value(stop, variable):
            # gdb computes what the caller passed from the caller's registers, which it unwinds.
            return "entry not traced"
        if value == OPTIMISED_OUT and self._uses_entry_value(stop, variable):
            # gdb knows a register's value at the entry from the call site only; we saw the entry itself.
            entry = self.entries[stop.event.cfa]
            at_entry = [shown for name, _, _, shown in entry.variables if name == variable.name]
            assert mine in at_entry
            return "known from the traced entry"
        return None

    def _uses_entry_value(self, stop: Any, variable: Variable) -> bool:
        found = self.table.at(stop.event.instruction.address)
        assert found is not None
        return any(
            operation[0] == Op.ENTRY_VALUE
            for one in found.scoped
            if one.name == variable.name
            for operation in one.operations or ()
        )

    def _differ(self, stop: Any, name: str, mine: Any, value: Any) -> None:
        where = stop.event.instruction.address - self.run.slide
        self.differences.append(f"{where:#x} {stop.function} {name}: {mine}, gdb: {value}")


def names_in_blocks_without_code(path: Any) -> set[str]:
    """Return (by pyelftools) the names declared in lexical blocks without addresses."""
    names: set[str] = set()

    def walk(die: Any, inside: bool) -> None:
        for child in die.iter_children():
            if child.tag == "DW_TAG_variable" and inside and "DW_AT_name" in child.attributes:
                names.add(child.attributes["DW_AT_name"].value.decode())
            block = child.tag == "DW_TAG_lexical_block" and not {"DW_AT_low_pc", "DW_AT_ranges"} & set(
                child.attributes
            )
            walk(child, inside or block)

    with path.open("rb") as file:
        for unit in ELFFile(file).get_dwarf_info().iter_CUs():
            walk(unit.get_top_DIE(), False)
    return names


@pytest.mark.parametrize("build", BUILDS, ids=" ".join)
def test_every_variable_at_every_instruction(gdb_run, build):
    comparison = Comparison(gdb_run(*build))
    assert comparison.differences == []
    assert comparison.compared > 500
    assert sum(comparison.explained.values()) < comparison.compared / 10


def test_constants_that_a_call_site_passes_need_no_entry_event(gdb_run):
    """Without the events at entries, DW_OP_entry_value is still known where the caller passed a constant."""
    run = gdb_run("gcc", "-O2", "-gdwarf-5", "-no-pie")
    with_entries, without = Comparison(run), Comparison(run, entries_traced=False)
    assert without.differences == []
    lost = without.explained["entry not traced"]
    used = without.entry_values
    assert 0 < lost < used, "some are known from call sites, others depend on the caller's registers"
    assert with_entries.explained["entry not traced"] == 0


def test_the_runs_cover_what_they_are_for(gdb_run):
    """Optimised builds must really contain entry values, pieces, implicit pointers and so on."""
    seen: set[int] = set()
    for build in (BUILDS[1], BUILDS[2], BUILDS[-1]):
        with DebugImage.open(gdb_run(*build).path) as image:
            table = build_table(image, [symbol.address for symbol in image.symbols.functions()])
        seen |= {operation[0] for expression in table.expressions for operation in expression}
    wanted = {Op.ENTRY_VALUE, Op.PIECE, Op.IMPLICIT_POINTER, Op.STACK_VALUE, Op.FBREG, Op.REGX, Op.BREGX}
    assert wanted <= seen
