"""Dataclasses that cost little when their module is imported: their methods are made when they are needed.

``dataclasses.dataclass`` writes and compiles the text of up to six methods for each class, half a millisecond
each time; the hundred classes there are took a tenth of the time to the first picture. Here the fields are
made by it, and so ``replace``, ``fields`` and ``asdict`` know them; ``__init__`` is compiled when the first
object is made, and the other methods go through the fields. Nothing else differs (tests/unit/test_lean.py).
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass  # to a type checker it is that one

__all__ = ["dataclass"]


def _decorator(*, slots: bool, frozen: bool = False) -> Callable[[type], type]:
    """Stand in for ``dataclasses.dataclass``, of whose parameters only these are known."""
    assert slots

    def decorate(cls: type) -> type:
        made: type = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
        methods = {"__repr__": _repr, "__init__": _first_init(made, frozen=frozen)}
        methods |= _comparing(made, frozen=frozen)
        if frozen:
            methods |= _FROZEN
        for name, method in methods.items():
            if name not in made.__dict__:
                setattr(made, name, method)
        return made

    return decorate


if not TYPE_CHECKING:
    dataclass = _decorator


def _first_init(cls: Any, *, frozen: bool) -> Callable[..., None]:
    def __init__(self: object, *values: object, **named: object) -> None:  # noqa: N807
        cls.__init__ = _compiled_init(cls, frozen=frozen)
        cls.__init__(self, *values, **named)

    return __init__


def _compiled_init(cls: Any, *, frozen: bool) -> Callable[..., None]:
    """Return what ``dataclass`` would make: parameters are all fields, in order, with their defaults."""
    known: dict[str, Any] = {"_missing": dataclasses.MISSING}
    parameters, lines = ["self"], []
    for field in dataclasses.fields(cls):
        name = field.name
        value = name
        if field.default_factory is not dataclasses.MISSING:
            known[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}() if {name} is _missing else {name}" if field.init else f"_make_{name}()"
            parameters += [f"{name}=_missing"] if field.init else []
        elif field.init and field.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = field.default
            parameters.append(f"{name}=_default_{name}")
        elif field.init:
            parameters.append(name)
        else:
            continue  # __post_init__ sets it
        known[f"_set_{name}"] = getattr(cls, name).__set__  # of the slot: object.__setattr__ looks for it
        lines.append(f"_set_{name}(self, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    text = f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines or ["pass"])
    exec(text, known)  # noqa: S102
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (
        f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr
    )
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _comparing(cls: Any, *, frozen: bool) -> dict[str, Any]:
    """Return ``__eq__`` and ``__hash__`` by the values of all fields that are compared."""
    names = [field.name for field in dataclasses.fields(cls) if field.compare]
    values: Callable[[Any], Any] = (
        attrgetter(*names) if len(names) > 1 else lambda self: tuple(getattr(self, name) for name in names)
    )

    def __eq__(self: object, other: object) -> bool:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return bool(values(self) == values(other))

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__ if frozen else None}


def _refuse(self: object, name: str, *_value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot change field {name!r} of a {type(self).__qualname__}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _take_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


#: What holds an object as it is; copies and pickles of one need the last two.
_FROZEN = {
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__getstate__": _state,
    "__setstate__": _take_state,
}
