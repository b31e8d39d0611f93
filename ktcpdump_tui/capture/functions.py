"""What is known of a traced function: which of its arguments is the packet, and every function that takes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ktcpdump_tui.capture.resolve import Target
from ktcpdump_tui.capture.spec import Spec, Want
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.btf import BTF_DIRECTORY, Btf

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ktcpdump_tui.kernel.symbols import Kallsyms, Symbol


@dataclass(frozen=True, slots=True)
class ArgumentLocation:
    """Where a function's skb is when it is entered.

    ``register`` counts the integer argument registers (arch.ARGUMENT_REGISTERS) from 0; ``indirect`` where the
    argument is a ``struct sk_buff **``. ``name`` is the parameter's.
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

    def skb_arguments(self, symbol: Symbol) -> tuple[ArgumentLocation, ...] | None:
        """Return the skb arguments that are in registers, pointers before pointers to pointers.

        None where BTF does not tell: it describes functions as the source has them, so nothing is said of
        variants whose arguments the compiler changed (.isra, .constprop, .part).
        """
        btf = self.of(symbol.module)
        if btf is None or symbol.name != symbol.base_name:
            return None
        found = btf.skb_parameters(symbol.name)
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
    found: list[Target] = []
    for module in (None, *modules):
        btf = types.of(module)
        if btf is None:
            continue
        takers = {name for name, one in btf.skb_functions().items() if one.register is not None}
        for symbols in kallsyms.find_many(takers, module).values():
            # of several functions of one name BTF describes one, and does not say which
            if len(symbols) == 1:
                spec = Spec("--survey", Want.ENTRY, name=symbols[0].name, module=module)
                found.append(Target(symbols[0], Want.ENTRY, spec, symbols[0].name))
    return sorted(found, key=lambda one: one.symbol.address)
