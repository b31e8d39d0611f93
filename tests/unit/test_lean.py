"""Our dataclasses are those of the standard library, made later."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import pkgutil
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

import ktcpdump_tui
from ktcpdump_tui import lean


def make(decorator: Any, **named: Any) -> Any:
    """Return a class with every kind of field there is."""

    @decorator(slots=True, **named)
    class Record:
        """One."""

        no: int
        name: str = "eth0"
        each: list[int] = dataclasses.field(default_factory=list)
        beside: int = dataclasses.field(default=0, compare=False, repr=False)
        twice: int = dataclasses.field(init=False, default=0)

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.no)

    return Record


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    """Of the standard library."""

    no: int
    name: str = "eth0"


@lean.dataclass(frozen=True, slots=True)
class Ours:
    """Ours."""

    no: int
    name: str = "eth0"


@lean.dataclass(frozen=True, slots=True)
class Derived(Ours):
    """Of another."""

    more: int = 3


@pytest.mark.parametrize("frozen", [False, True])
def test_objects_are_made_shown_and_compared_as_those_of_the_standard_library(frozen: bool) -> None:
    told = []
    for decorator in (dataclasses.dataclass, lean.dataclass):
        kind = make(decorator, frozen=frozen)
        one, other = kind(1), kind(no=1, name="eth0", each=[], beside=7)
        assert one == other
        assert one != kind(2)
        assert one != 1
        assert one.each is not kind(1).each
        assert not hasattr(one, "__dict__")
        changed = dataclasses.replace(one, no=4, each=[1])
        told.append((repr(one), repr(changed), dataclasses.asdict(changed), kind.__match_args__))
    assert told[0] == told[1]


def test_what_is_frozen_can_be_hashed_and_not_be_changed() -> None:
    for kind in (Standard, Ours):
        one: Any = kind(1)
        assert {one: "found"}[kind(1)] == "found"
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.no = 2
        with pytest.raises(dataclasses.FrozenInstanceError):
            del one.no
        assert one.no == 1


def test_what_is_not_frozen_can_be_changed_and_not_be_hashed() -> None:
    for decorator in (dataclasses.dataclass, lean.dataclass):
        one = make(decorator)(1)
        one.no = 2
        assert one.no == 2
        with pytest.raises(TypeError, match="unhashable"):
            hash(one)


@pytest.mark.parametrize(("values", "named"), [((), {}), ((1, "a", 2), {}), ((1,), {"none": 1})])
def test_wrong_arguments_are_refused_in_the_same_words(values: Any, named: Any) -> None:
    said = []
    for kind in (Standard, Ours):
        with pytest.raises(TypeError) as caught:
            kind(*values, **named)
        said.append(str(caught.value).replace(kind.__name__, "Record"))
    assert said[0] == said[1]


def test_objects_are_copied_and_pickled() -> None:
    for one in (Ours(1, "lo"), Derived(1, "lo", 2)):
        assert copy.deepcopy(one) == copy.copy(one) == pickle.loads(pickle.dumps(one)) == one


def test_a_class_made_of_another_has_the_fields_of_both() -> None:
    assert repr(Derived(1)) == "Derived(no=1, name='eth0', more=3)"
    assert Derived(1) != Ours(1)
    assert Ours(1) == Ours(1)


def test_all_classes_of_the_program_take_the_parameters_that_the_standard_library_would_give_them() -> None:
    seen = 0
    for found in pkgutil.walk_packages(ktcpdump_tui.__path__, "ktcpdump_tui."):
        if ".lab" in found.name or found.name.endswith("__main__"):
            continue
        for kind in vars(import_module(found.name)).values():
            if not dataclasses.is_dataclass(kind) or not isinstance(kind, type) or "lean" in kind.__module__:
                continue
            if kind.__init__.__module__ != "ktcpdump_tui.lean":
                continue
            frozen = "__setattr__" in kind.__dict__
            ours = inspect.signature(lean._compiled_init(kind, frozen=frozen))
            names = [field.name for field in dataclasses.fields(kind) if field.init]
            assert list(ours.parameters) == ["self", *names], kind
            seen += 1
    assert seen > 50


def test_nothing_is_compiled_for_a_class_that_nobody_uses() -> None:
    code = "import ktcpdump_tui.model as m; print(m.Event.__init__.__code__.co_filename.endswith('lean.py'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
