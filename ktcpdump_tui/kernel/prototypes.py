"""Which functions take a pointer to a given structure, and in which register: from BTF, all at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ktcpdump_tui.kernel.btf import TRANSPARENT
from ktcpdump_tui.kernel.btf_records import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ktcpdump_tui.kernel.btf import Btf
    from ktcpdump_tui.kernel.btf_records import Type

#: System V ABI 3.2.3: integer argument registers, and the bytes of a struct that still travels in them.
_REGISTERS = 6
_STRUCT_BYTES = 16


@dataclass(frozen=True, slots=True)
class PointerParameter:
    """A parameter that points to the structure, or to such a pointer where ``indirect``.

    ``register`` counts the integer argument registers before it (0: rdi); None where it is on the stack.
    """

    index: int
    register: int | None
    indirect: bool
    name: str = ""


class Prototypes:
    """The functions of one BTF blob that take ``struct NAME *`` or ``struct NAME **``.

    ``base`` is the kernel's for a module's blob.
    """

    def __init__(self, btf: Btf, struct: str, base: Prototypes | None = None) -> None:
        self._btf = btf
        self._struct = struct
        self._base = base
        self._registers_of: dict[int, int] = {}
        self._known: dict[str, list[PointerParameter]] = {}

    def parameters(self, name: str) -> list[PointerParameter] | None:
        """Return the parameters of function ``name`` that point to the structure, in order.

        None where BTF has no such function, or has functions of that name that disagree.
        """
        if name in self._known:
            return self._known[name]
        answers = [self._parameters(one) for one in self._btf.functions(name)]
        return answers[0] if answers and all(one == answers[0] for one in answers) else None

    def functions(self) -> dict[str, list[PointerParameter]]:
        """Return {name: such parameters} of this blob's own functions that have any.

        Functions of one name that disagree are left out.
        """
        btf = self._btf
        found: dict[str, list[PointerParameter]] = {}
        doubtful = set()
        functions = np.flatnonzero(btf.kinds == Kind.FUNC)
        takes = self._takes[btf.references[functions]]
        for function in functions[takes].tolist():
            type_ = btf.type(btf.first_id + function)
            parameters = self._parameters(type_)
            if found.setdefault(type_.name, parameters) != parameters:
                doubtful.add(type_.name)
        self._known = {name: one for name, one in found.items() if name not in doubtful}
        return self._known

    def _parameters(self, function: Type) -> list[PointerParameter]:
        found = []
        used = 0
        for index, (name, type_id) in enumerate(self._btf.parameters(function)):
            registers = self._registers(type_id)
            # what does not fit into the registers left goes to the stack whole
            in_registers = 0 < registers <= _REGISTERS - used
            if type_id in self._types:
                register = used if in_registers else None
                found.append(PointerParameter(index, register, self._types[type_id], name))
            used += registers if in_registers else 0
        return found

    def _registers(self, type_id: int) -> int:
        """Return how many integer registers a parameter takes; 0: it is passed in memory."""
        known = self._registers_of.get(type_id)
        if known is None:
            known = self._registers_of[type_id] = self._count_registers(type_id)
        return known

    def _count_registers(self, type_id: int) -> int:
        found = self._btf.resolve(type_id)
        if found.kind in (Kind.STRUCT, Kind.UNION):
            return -(-found.size_or_type // 8) if 0 < found.size_or_type <= _STRUCT_BYTES else 0
        return max(1, -(-self._btf.size_of(type_id) // 8))

    @cached_property
    def _takes(self) -> NDArray[np.bool_]:
        """By type id, the base's too: whether it is a prototype with such a parameter."""
        takes = np.zeros(self._btf.end_id, np.bool_)
        owners, types = self._btf.parameter_types()
        takes[owners[np.isin(types, list(self._types))]] = True
        if self._base is not None:
            takes[: self._btf.first_id] = self._base._takes
        return takes

    @cached_property
    def _types(self) -> dict[int, bool]:
        """The ids of all types that point to the structure (False) or to such a pointer (True)."""
        found = dict(self._base._types) if self._base else {}
        targets = {one.id for one in self._btf.find(self._struct, Kind.STRUCT)}
        single = self._pointers_to(targets) | {one for one, twice in found.items() if not twice}
        found |= dict.fromkeys(single, False)
        found |= dict.fromkeys(self._pointers_to(single) - single, True)
        return found

    def _pointers_to(self, targets: set[int]) -> set[int]:
        """Return this blob's own pointers to ``targets``; both may be qualified or renamed."""
        btf = self._btf
        refers: NDArray[Any] = btf.references
        transparent = np.isin(btf.kinds, [int(kind) for kind in TRANSPARENT])

        def widen(ids: set[int]) -> set[int]:
            while True:
                more = np.flatnonzero(transparent & np.isin(refers, list(ids))) + btf.first_id
                wider = ids | set(more.tolist())
                if wider == ids:
                    return ids
                ids = wider

        is_pointer = (btf.kinds == Kind.PTR) & np.isin(refers, list(widen(targets)))
        return widen(set((np.flatnonzero(is_pointer) + btf.first_id).tolist()))
