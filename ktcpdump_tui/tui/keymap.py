"""Which keys do what: the style chosen, and what ``[keys]`` in config.toml says.

Each thing that keys do has a name (the help screen shows it), made of its action: ``step('reverse-step')`` is
``reverse-step``, ``next_drop(False)`` is ``next-drop-back``.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from textual.binding import Binding
from textual.keys import Keys, key_to_character

from ktcpdump_tui.tui.bindings import GROUPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.config import Settings

Groups = tuple[tuple[str, tuple[Binding, ...]], ...]

_NAMED: Final = {
    "prompt('/')": "search",
    "prompt('?')": "search-back",
    "prompt(':')": "command",
    "prompt('&')": "filter",
    "search(True)": "next-match",
    "search(False)": "previous-match",
    "edge(False)": "first",
    "edge(True)": "last",
    "app.focus_next": "focus-next",
    "app.focus_previous": "focus-previous",
}

#: What vim's users expect. Digits count, so the inspector's sections move to Alt and the digit.
_VIM: Final = {
    "search-back": ("question_mark",),
    "next-match": ("n",),
    "previous-match": ("N",),
    "next": ("e",),
    "reverse-next": ("E",),
    "until": ("ctrl+e",),
    "help": ("f1",),
    **{f"section-{number}": (f"alt+{number}",) for number in range(1, 10)},
}
_DIGITS: Final = tuple(Binding(str(digit), f"digit({digit})", show=False) for digit in range(10))

_KNOWN_KEYS: Final = frozenset(key.value for key in Keys)


def name_of(action: str) -> str:
    """Return the name of an action as Textual writes it."""
    if action in _NAMED:
        return _NAMED[action]
    word, _, arguments = action.rstrip(")").partition("(")
    given = [part.strip().strip("'\"") for part in arguments.split(",") if part.strip()]
    if word == "step":
        return given[0]
    words = [word.replace("_", "-")]
    for one in given:
        one = {"True": "", "False": "back", "-1": "back"}.get(
            one, "" if one == "1" and word != "section" else one
        )
        if one and one != words[-1]:
            words.append(one)
    if len(words) > 2 and words[0] == "probe" and words[1] == "unprobe":
        del words[0]
    return "-".join(words)


def groups_for(settings: Settings) -> tuple[Groups, list[str]]:
    """Return the groups of the help screen with the keys of these settings, and what is wrong with them."""
    problems: list[str] = []
    names = {name_of(binding.action) for _, group in GROUPS for binding in group}
    wanted: dict[str, tuple[str, ...]] = dict(_VIM) if settings.style == "vim" else {}
    own: dict[str, str] = {}
    for name, keys in settings.keys.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "; ? shows the names"
            problems.append(settings.wrong(f"keys.{name}", f"no key does '{name}'{hint}"))
            continue
        named = [_key(key) for key in keys]
        if None in named:
            bad = keys[named.index(None)]
            problems.append(settings.wrong(f"keys.{name}", f"there is no key '{bad}', as in f7, ctrl+n, S"))
            continue
        real = tuple(key for key in named if key)
        taken = next((key for key in real if key in own), None)
        if taken is not None:
            problems.append(settings.wrong(f"keys.{name}", f"'{taken}' already does '{own[taken]}'"))
            continue
        own |= dict.fromkeys(real, name)
        wanted[name] = real
    # A key that was given away is no longer what it was.
    given = {key for keys in wanted.values() for key in keys}
    return _bound(wanted, given, digits=settings.style == "vim"), problems


def _bound(wanted: dict[str, tuple[str, ...]], given: set[str], *, digits: bool) -> Groups:
    done: set[str] = set()
    result: list[tuple[str, tuple[Binding, ...]]] = []
    for title, group in GROUPS:
        bindings: list[Binding] = []
        for binding in group:
            name = name_of(binding.action)
            if name in wanted:
                if name not in done:
                    done.add(name)
                    bindings += [replace(binding, key=key, id=name) for key in wanted[name]]
            elif binding.key not in given and not (digits and binding.key.isdecimal()):
                bindings.append(replace(binding, id=name))
        result.append((title, tuple(bindings)))
    if digits:
        result.append(("Counts", _DIGITS))
    return tuple(result)


def with_priority(groups: Groups) -> Sequence[Binding]:
    """Return all bindings; they are looked at before the pane's own, in the order in which keys were typed.

    What follows a ``:`` must find the prompt open.
    """
    return [replace(one, priority=not one.key.endswith("tab")) for _, group in groups for one in group]


def _key(written: str) -> str | None:
    """Return a key as Textual names it, None where there is none of that name."""
    *modifiers, key = written.split("+") if len(written) > 1 else [written]
    if any(modifier not in ("ctrl", "shift", "alt", "meta", "super") for modifier in modifiers) or not key:
        return None
    if len(key) == 1:
        (made,) = Binding.make_bindings([Binding(key, "x")])
        key = made.key
    elif key not in _KNOWN_KEYS and key_to_character(key) is None and not re.fullmatch(r"f\d{1,2}", key):
        return None
    return "+".join([*modifiers, key])
