"""What is asked of each function, before anything of it is decoded; and whether it is too much."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ktcpdump_tui.kernel.symbols import Symbol

#: SPECs listed in a message; the rest is counted.
_LISTED: Final = 5

#: Bytes of code per instruction, roughly, where a count is refused before anything is decoded.
_BYTES_PER_INSTRUCTION: Final = 4.3


@dataclass(slots=True)
class Piece:
    """What is asked of one function so far: its own symbol, its fragments, the addresses asked for."""

    symbol: Symbol
    function: str
    fragments: list[Symbol] = field(default_factory=list)
    entry: bool = False
    #: Pieces of which every instruction is asked for, by address.
    whole: set[int] = field(default_factory=set)
    #: Single addresses, each with the SPEC that asked for it and whether a wrong one is the user's mistake.
    addresses: dict[int, tuple[str, bool]] = field(default_factory=dict)
    specs: set[str] = field(default_factory=set)

    @property
    def only_entry(self) -> bool:
        """Whether only the function's entry is asked for."""
        return not self.whole and not self.addresses


def refuse_early(pieces: Sequence[Piece], most: int) -> None:
    """Refuse what is far beyond the budget before all of it is decoded."""
    total = 0
    asked: dict[str, int] = {}
    for one in pieces:
        count = len(one.addresses) or int(one.only_entry)
        for symbol in (one.symbol, *one.fragments):
            if symbol.address in one.whole:
                count += int(symbol.size / _BYTES_PER_INSTRUCTION)
        total += count
        for spec in one.specs:
            asked[spec] = asked.get(spec, 0) + count
    if total > 2 * most:
        raise too_many(total, asked, most, "about ")


def too_many(total: int, asked: Mapping[str, int], most: int, about: str = "") -> UsageError:
    """Return the refusal of ``total`` probes; ``asked`` are those of each SPEC."""
    if len(asked) == 1:
        who = f"-i {next(iter(asked))} asks for {about}{total:,} probes"
    else:
        largest = sorted(asked.items(), key=lambda item: -item[1])
        each = [f"{spec}: {about}{count:,}" for spec, count in largest[:_LISTED]]
        if len(largest) > _LISTED:
            each.append(f"{len(largest) - _LISTED} more")
        who = f"these SPECs ask for {about}{total:,} probes ({', '.join(each)})"
    return UsageError(
        f"{who}, and --max-probes allows {most:,}",
        "ask for less (symbol:* probes lines instead of instructions), or raise --max-probes",
    )
