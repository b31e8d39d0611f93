"""What the command palette offers: what keys do, commands, the functions of the trace."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from textual.command import DiscoveryHit, Hit, Hits, Provider

from ktcpdump_tui.tui.commands import COMMANDS
from ktcpdump_tui.tui.help_screen import key_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Functions offered before anything is typed would hide the rest.
_MOST = 50


class _Listed(Provider):
    """Offers what ``offers`` yields: (what is searched, what it is, what it does)."""

    def offers(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Yield everything there is."""
        yield from ()

    async def discover(self) -> Hits:
        """Offer all while nothing is typed."""
        for text, about, run in self.offers():
            yield DiscoveryHit(text, run, help=about)

    async def search(self, query: str) -> Hits:
        """Offer what matches, letter by letter."""
        matcher = self.matcher(query)
        for text, about, run in self.offers():
            score = max(matcher.match(text), 0.6 * matcher.match(about))
            if score > 0:
                yield Hit(score, matcher.highlight(text), run, help=about)


class KeyProvider(_Listed):
    """What our keys do."""

    def offers(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Yield each once."""
        app: Any = self.app
        for binding in app.our_bindings:
            if binding.description and binding.action not in ("palette", "interrupt"):
                run = partial(app.run_action, _of_app(binding.action))
                yield binding.description, f"key {key_name(binding)}", run


class CommandProvider(_Listed):
    """The commands of the ``:`` prompt."""

    def offers(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Yield each; one that takes something is brought to the prompt."""
        app: Any = self.app
        for name, (takes, what) in COMMANDS.items():
            if takes and not takes.startswith("["):
                yield f":{name} {takes}", what, partial(app.ask_command, f"{name} ")
            else:
                yield f":{name}", what, partial(app.entered, ":", name)


class FunctionProvider(_Listed):
    """The functions of the trace."""

    def offers(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """Yield each; choosing goes to its next event."""
        app: Any = self.app
        for module, symbol in app.navigator.functions:
            name = f"{module}:{symbol}" if module else symbol
            yield name, "go to this function's next event", partial(app.entered, ":", f"goto {name}")

    async def discover(self) -> Hits:
        """Offer the first ones."""
        for number, (text, about, run) in enumerate(self.offers()):
            if number < _MOST:
                yield DiscoveryHit(text, run, help=about)


def _of_app(action: str) -> str:
    return action if "." in action.partition("(")[0] else f"app.{action}"


PROVIDERS = (KeyProvider, CommandProvider, FunctionProvider)
