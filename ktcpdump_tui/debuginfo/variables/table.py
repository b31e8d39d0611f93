"""The variables of a plan: which are in scope at an address, where they are, and the types they have.

A table stands alone: it goes into a trace as one blob and needs no debug file when it is read.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import zstandard

from ktcpdump_tui.debuginfo.variables import operations as ops
from ktcpdump_tui.debuginfo.variables.machine import FrameState, locate
from ktcpdump_tui.debuginfo.variables.numbers import GENERIC, BaseType
from ktcpdump_tui.debuginfo.variables.places import OPTIMISED_OUT, Nowhere
from ktcpdump_tui.debuginfo.variables.type_table import TypeTable
from ktcpdump_tui.debuginfo.variables.types import Kind
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktcpdump_tui.debuginfo.variables.operations import Operations
    from ktcpdump_tui.debuginfo.variables.places import Place
    from ktcpdump_tui.debuginfo.variables.types import Type

#: The version of the serialised form.
VERSION: Final = 1
_MAGIC: Final = b"KTVARS%d\n" % VERSION

#: A table of this many bytes unpacked is not one of ours.
_MOST_BYTES: Final = 512 << 20

#: [(low, high, number of an expression)]; low None: everywhere. Addresses count from the function's lowest;
#: (0, 0) is at the function's first instruction.
Locations = list[list[int | None]]


@dataclass(slots=True)
class Declared:
    """A variable or parameter as declared. ``locations`` is empty where the compiler kept nothing."""

    name: str
    type: int
    parameter: bool
    locations: Locations = field(default_factory=list)


@dataclass(slots=True)
class Scope:
    """A function, an inlined function (``function`` names it) or a block of one (``function`` is "").

    ``ranges`` count from the function's lowest address.
    """

    function: str
    ranges: list[list[int]]
    variables: list[Declared] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)


@dataclass(slots=True)
class Function:
    """A function with code of its own. ``low`` is its lowest link-time address; ``image`` a number.

    ``calls`` are [return address from ``low``, [[DWARF register, expression], ...]] of the calls that pass
    constants (DWARF 5 section 3.4).
    """

    low: int
    image: int
    frame_base: Locations
    scope: Scope
    calls: list[list[Any]] = field(default_factory=list)


@dataclass(slots=True)
class Referred:
    """A variable that expressions of others refer to, in or out of scope; ``low`` as in Function."""

    low: int
    variable: Declared


@dataclass(slots=True)
class Image:
    """A debug file. ``slide``: run-time minus link-time address, 0 for a module opened at its addresses."""

    build_id: str | None
    slide: int


class InScope(NamedTuple):
    """A variable at one address. ``operations`` is None where the compiler kept nothing there."""

    name: str
    function: str
    inlined: bool
    parameter: bool
    type: Type
    operations: Operations | None


class Found(NamedTuple):
    """What a table knows of one address. ``scoped`` goes from the innermost scope outwards."""

    function: Function
    slide: int
    frame_base: Operations | None
    scoped: tuple[InScope, ...]


class VariableTable:
    """Scopes, locations and types; see ``variables()`` in values for their values at an event."""

    def __init__(self) -> None:
        self.types = TypeTable()
        self.images: list[Image] = []
        self.functions: list[Function] = []
        self.expressions: list[Operations] = []
        self.objects: list[Referred] = []
        self._starts: list[tuple[int, int, int]] | None = None
        self._found: dict[int, Found | None] = {}
        self._names: set[str] | None = None

    def at(self, address: int) -> Found | None:
        """Return what is known at a run-time address, None for an address outside the table's functions."""
        try:
            return self._found[address]
        except KeyError:
            found = self._found[address] = self._find(address)
            return found

    def passed(self, return_address: int) -> dict[int, Operations]:
        """Return the constants that a call passes in registers, by the run-time address it returns to."""
        found = self.at(return_address)
        if found is None:
            return {}
        offset = return_address - found.slide - found.function.low
        for place, parameters in found.function.calls:
            if place == offset:
                return {register: self.expressions[number] for register, number in parameters}
        return {}

    @property
    def variable_names(self) -> set[str]:
        """The names of all variables of all functions."""
        if self._names is None:
            self._names = set()
            pending = [function.scope for function in self.functions]
            while pending:
                scope = pending.pop()
                self._names.update(variable.name for variable in scope.variables)
                pending.extend(scope.scopes)
        return self._names

    def base_type(self, number: int) -> BaseType:
        """Return a base type that an expression names; 0 is the generic type (DWARF 5 section 2.5.1)."""
        if not number:
            return GENERIC
        kind = self.types[number].stripped()
        if kind.kind is Kind.POINTER:
            return GENERIC
        return BaseType(kind.size, kind.encoding)

    def object_place(self, number: int, frame: FrameState) -> Place:
        """Return where a variable is that an expression refers to by number."""
        if not 0 <= number < len(self.objects):
            return Nowhere(OPTIMISED_OUT)
        referred = self.objects[number]
        address = frame.address - frame.slide - referred.low
        operations = self._operations(referred.variable.locations, address)
        return Nowhere(OPTIMISED_OUT) if operations is None else locate(operations, frame)

    def object_type(self, number: int) -> Type:
        """Return the type of a variable that an expression refers to by number."""
        known = 0 <= number < len(self.objects)
        return self.types[self.objects[number].variable.type] if known else self.types.unknown

    def to_bytes(self) -> bytes:
        """Return the serialised form: a line with its version, one with the images, and packed JSON."""
        document = {
            "types": self.types.records,
            "expressions": [ops.to_json(operations) for operations in self.expressions],
            "functions": [
                [one.low, one.image, one.frame_base, _scope_to_json(one.scope), one.calls]
                for one in self.functions
            ],
            "objects": [[referred.low, _variable_to_json(referred.variable)] for referred in self.objects],
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        return _head(self.images) + zstandard.ZstdCompressor(level=3, write_checksum=True).compress(text)

    @classmethod
    def from_bytes(cls, data: bytes) -> VariableTable:
        """Return the table ``to_bytes`` wrote. Raises UserError where the data is damaged or newer."""
        images, body = _split(data)
        table = cls()
        table.images = images
        try:
            text = zstandard.ZstdDecompressor().decompress(body, max_output_size=_MOST_BYTES)
            document = json.loads(text)
            images.extend(Image(build_id, slide) for build_id, slide in document.get("images", ()))
            table.types = TypeTable(document["types"])
            table.expressions = [ops.from_json(value) for value in document["expressions"]]
            table.functions = [
                Function(low, image, base, _scope_from_json(scope), *calls)  # the first traces had no calls
                for low, image, base, scope, *calls in document["functions"]
            ]
            table.objects = [Referred(low, Declared(*value)) for low, value in document["objects"]]
            for function in table.functions:
                images[function.image]  # every number has its image
        except (zstandard.ZstdError, ValueError, TypeError, LookupError, RecursionError) as error:
            raise UserError("the trace's variables are damaged: they cannot be read") from error
        return table

    def _find(self, address: int) -> Found | None:
        starts = self._starts
        if starts is None:
            starts = self._starts = sorted(self._spans())
        index = bisect_right(starts, (address, 1 << 64, 0)) - 1
        if index < 0 or address >= starts[index][1]:
            return None
        function = self.functions[starts[index][2]]
        slide = self.images[function.image].slide
        offset = address - slide - function.low
        found: list[InScope] = []
        self._descend(function.scope, offset, function.scope.function, False, found)
        base = self._operations(function.frame_base, offset)
        return Found(function, slide, base, tuple(found))

    def _spans(self) -> Iterator[tuple[int, int, int]]:
        for number, function in enumerate(self.functions):
            start = function.low + self.images[function.image].slide
            for low, high in function.scope.ranges:
                yield start + low, start + high, number

    def _descend(self, scope: Scope, offset: int, function: str, inlined: bool, found: list[InScope]) -> None:
        """Append the variables of the innermost scope first."""
        for inner in scope.scopes:
            if any(low <= offset < high for low, high in inner.ranges):
                name = inner.function or function
                self._descend(inner, offset, name, inlined or bool(inner.function), found)
        for variable in scope.variables:
            operations = self._operations(variable.locations, offset)
            kind = self.types[variable.type]
            found.append(InScope(variable.name, function, inlined, variable.parameter, kind, operations))

    def _operations(self, locations: Locations, offset: int) -> Operations | None:
        default = None
        for low, high, expression in locations:
            if low is None or high is None:
                default = expression
            elif low <= offset < high or offset == low == high == 0:
                return self.expressions[expression or 0]
        return None if default is None else self.expressions[default]


def with_slide(data: bytes, slide: int) -> bytes:
    """Return a serialised table with another slide for all its images, for one that comes from a cache."""
    images, body = _split(data)
    return _head([Image(image.build_id, slide) for image in images]) + body


def _head(images: list[Image]) -> bytes:
    rows = [[image.build_id, image.slide] for image in images]
    return _MAGIC + json.dumps(rows).encode() + b"\n"


def _split(data: bytes) -> tuple[list[Image], bytes]:
    """Return the images, and the packed rest. Raises UserError."""
    if not data.startswith(_MAGIC):
        raise UserError("the trace's variables are of another version of ktcpdump-tui, or damaged")
    if data.startswith(zstandard.FRAME_HEADER, len(_MAGIC)):  # the first traces had the images inside
        return [], data[len(_MAGIC) :]
    line, _, body = data[len(_MAGIC) :].partition(b"\n")
    try:
        return [Image(build_id, int(slide)) for build_id, slide in json.loads(line)], body
    except (ValueError, TypeError) as error:
        raise UserError("the trace's variables are damaged: they cannot be read") from error


def share_types(tables: Sequence[VariableTable]) -> None:
    """Let each of a trace's tables find in the others the types it lacks (a module's: struct iphdr)."""
    for table in tables:
        table.types.share(other.types for other in tables)


def _scope_to_json(scope: Scope) -> list[Any]:
    return [
        scope.function,
        scope.ranges,
        [_variable_to_json(variable) for variable in scope.variables],
        [_scope_to_json(inner) for inner in scope.scopes],
    ]


def _scope_from_json(value: list[Any]) -> Scope:
    function, ranges, variables, scopes = value
    return Scope(
        function,
        ranges,
        [Declared(*variable) for variable in variables],
        [_scope_from_json(inner) for inner in scopes],
    )


def _variable_to_json(variable: Declared) -> list[Any]:
    return [variable.name, variable.type, variable.parameter, variable.locations]
