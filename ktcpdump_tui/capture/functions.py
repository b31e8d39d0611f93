"""Which of a function's arguments is the packet, and every function that takes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.capture.resolve import Target
from ktcpdump_tui.capture.spec import Spec, Want
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.btf import BTF_DIRECTORY, Btf
from ktcpdump_tui.kernel.prototypes import Prototypes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ktcpdump_tui.kernel.symbols import Kallsyms, Symbol

#: The structure a packet is in.
_PACKET: Final = "sk_buff"


@dataclass(frozen=True, slots=True)
class ArgumentLocation:
    """Where a function's skb is when it is entered.

    ``register`` counts the integer argument registers (arch.ARGUMENT_REGISTERS) from 0; ``indirect`` where
    the argument is a ``struct sk_buff **``. ``name`` is the parameter's.
    """

    register: int
    indirect: bool = False
    name: str = ""


class ArgumentSource(Protocol):
    """Debug symbols that know where a variant of a function (.isra, .constprop, .part) has its skb."""

    def skb_arguments(self, address: int) -> tuple[ArgumentLocation, ...] | None:
        """Return the skb arguments of the function whose code begins at ``address``; None where unknown."""


class KernelTypes:
    """BTF of the kernel and of the modules that are asked about, read when they are."""

    def __init__(self, btf: Btf, directory: Path = BTF_DIRECTORY) -> None:
        self.kernel = btf
        self._directory = directory
        self._modules: dict[str, Btf | None] = {}
        self._prototypes: dict[str | None, Prototypes] = {None: Prototypes(btf, _PACKET)}

    def module(self, name: str) -> Btf | None:
        """Return a module's BTF, None where it has none."""
        if name not in self._modules:
            try:
                self._modules[name] = Btf.read(name, self.kernel, self._directory)
            except UserError:
                self._modules[name] = None
        return self._modules[name]

    def of(self, module: str | None) -> Btf | None:
        """Return the BTF that describes code of ``module`` (None: the kernel)."""
        return self.module(module) if module else self.kernel

    def prototypes(self, module: str | None) -> Prototypes | None:
        """Return the functions of ``module`` (None: the kernel) that take an skb; None without BTF."""
        if module not in self._prototypes:
            btf = self.of(module)
            if btf is None:
                return None
            self._prototypes[module] = Prototypes(btf, _PACKET, self._prototypes[None])
        return self._prototypes[module]

    def skb_arguments(self, symbol: Symbol) -> tuple[ArgumentLocation, ...] | None:
        """Return the skb arguments that are in registers, pointers before pointers to pointers.

        None where BTF does not tell: it describes functions as the source has them, so nothing is said of
        variants whose arguments the compiler changed (.isra, .constprop, .part).
        """
        prototypes = self.prototypes(symbol.module)
        if prototypes is None or symbol.name != symbol.base_name:
            return None
        found = prototypes.parameters(symbol.name)
        if found is None:
            return None
        locations = [
            ArgumentLocation(one.register, one.indirect, one.name)
            for one in found
            if one.register is not None
        ]
        return tuple(sorted(locations, key=lambda one: one.indirect))


def survey(kallsyms: Kallsyms, types: KernelTypes, modules: Iterable[str]) -> list[Target]:
    """Return the entry of every function that takes an skb, in the kernel and in ``modules``, by address."""
    takers: dict[str | None, set[str]] = {}
    for module in (None, *modules):
        prototypes = types.prototypes(module)
        if prototypes is not None:
            takers[module] = {
                name
                for name, parameters in prototypes.functions().items()
                if any(one.register is not None for one in parameters)
            }
    homes: dict[tuple[str | None, str], list[Symbol]] = {}
    for symbol in kallsyms.find_many(frozenset[str]().union(*takers.values())):
        if symbol.name in takers.get(symbol.module, ()):
            homes.setdefault((symbol.module, symbol.name), []).append(symbol)
    spec = Spec("--survey", Want.ENTRY)
    # of several functions of one name BTF describes one, and does not say which
    return [
        Target(symbols[0], Want.ENTRY, spec, symbols[0].name)
        for symbols in homes.values()
        if len(symbols) == 1
    ]
