"""All types of a trace by number and by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo.variables.types import Kind, Record, Type

if TYPE_CHECKING:
    from collections.abc import Iterable


class TypeTable:
    """All types of a trace. Number 0 is void."""

    def __init__(self, records: list[Record] | None = None) -> None:
        self.records: list[Record] = [[Kind.VOID, "", 0, 0, None]] if records is None else records
        self._made: dict[int, Type] = {}
        self._names: dict[tuple[Kind, str], int] | None = None
        self._constants: dict[str, tuple[int, int]] | None = None
        self._others: list[TypeTable] = []
        self.unknown = Type(self, Kind.UNKNOWN, "?", 0)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> Type:
        made = self._made.get(number)
        if made is None:
            if not 0 <= number < len(self.records):
                return self.unknown
            kind, name, size, target, detail = self.records[number]
            made = self._made[number] = Type(self, Kind(kind), name, size, target, detail)
        return made

    @property
    def void(self) -> Type:
        """The type void."""
        return self[0]

    def find(self, kind: Kind, name: str) -> Type | None:
        """Return the type called ``name``: a complete structure rather than one that is only declared.

        Where this table has none, those it was told to share with are searched.
        """
        own = self.own(kind, name)
        if own is not None and own.complete:
            return own
        for other in self._others:
            found = other.own(kind, name)
            if found is not None and found.complete:
                return found
        return own

    def own(self, kind: Kind, name: str) -> Type | None:
        """Return the type called ``name`` of this table alone."""
        number = self._by_name().get((kind, name))
        return None if number is None else self[number]

    def share(self, others: Iterable[TypeTable]) -> None:
        """Look into ``others`` too for what is not here."""
        self._others = [other for other in others if other is not self]

    def names(self, kind: Kind) -> list[str]:
        """Return all names of types of a kind."""
        found = [name for one, name in self._by_name() if one is kind]
        for other in self._others:
            found += [name for one, name in other._by_name() if one is kind]
        return found

    def completed(self, declared: Type) -> Type:
        """Return the structure with members that has the same tag, else ``declared`` itself."""
        if not declared.name:
            return declared
        found = self.find(declared.kind, declared.name)
        return found if found is not None and found.complete else declared

    def constant(self, name: str) -> tuple[int, Type] | None:
        """Return (value, enumeration) of an enumerator."""
        for table in (self, *self._others):
            found = table._by_enumerator().get(name)
            if found is not None:
                return found[0], table[found[1]]
        return None

    def constant_names(self) -> list[str]:
        """Return the names of all enumerators."""
        return [name for table in (self, *self._others) for name in table._by_enumerator()]

    def base(self, name: str, size: int, encoding: int) -> Type:
        """Return a base type of C, whether or not the table has it."""
        found = self.find(Kind.BASE, name)
        if found is not None and found.size == size:
            return found
        return Type(self, Kind.BASE, name, size, 0, encoding)

    def _by_enumerator(self) -> dict[str, tuple[int, int]]:
        if self._constants is None:
            self._constants = {}
            for number, record in enumerate(self.records):
                if record[0] == Kind.ENUM:
                    for enumerator, value in record[4]:
                        self._constants.setdefault(enumerator, (value, number))
        return self._constants

    def _by_name(self) -> dict[tuple[Kind, str], int]:
        if self._names is None:
            self._names = {}
            for number, record in enumerate(self.records):
                key = (Kind(record[0]), record[1])
                if not record[1]:
                    continue
                known = self._names.get(key)
                if known is None or (record[4] is not None and self.records[known][4] is None):
                    self._names[key] = number
        return self._names
