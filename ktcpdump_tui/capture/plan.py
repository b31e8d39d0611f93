"""The plan: which instructions of which functions are to be probed, decoded from the live code."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.code import PADDING, first_instruction, leaves, trailing_padding
from ktcpdump_tui.capture.pieces import Piece, refuse_early, too_many
from ktcpdump_tui.capture.resolve import Target, is_fragment
from ktcpdump_tui.capture.spec import Want
from ktcpdump_tui.debuginfo.disasm import disassemble
from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.kernel.text import ENDBR, NOP5, entry_offset
from ktcpdump_tui.model import Flow, Instruction, ProbeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ktcpdump_tui.capture.functions import ArgumentLocation, ArgumentSource, KernelTypes
    from ktcpdump_tui.kernel.blacklist import Blacklist
    from ktcpdump_tui.kernel.symbols import Kallsyms, Symbol
    from ktcpdump_tui.kernel.text import LiveText, ReservedCode
    from ktcpdump_tui.model import FrameRule

    #: Frame rules for run-time addresses, None where unknown.
    FrameSource = Callable[[Sequence[int]], Sequence[FrameRule | None]]

#: What has to be read to decode an entry: ``endbr64``, the tracer's nop, the longest instruction.
_ENTRY_BYTES: Final = 4 + 5 + 15

#: From so many functions on, an index of all names is quicker than looking up each.
_MANY: Final = 64

_TRAP: Final = "the kernel allows no probe on a trap"
_ENDBR: Final = "endbr64: the probe is on the instruction after it"
_BLACKLISTED: Final = "the kernel allows no probe in this function (kprobe blacklist)"
_NOT_ASKED: Final = None


@dataclass(frozen=True, slots=True)
class PlannedFunction:
    """A function of the plan. Its fragments (``.cold``) run in its frame and are among its ``parts``.

    ``entry`` is the address whose execution means that the function was called (after ``endbr64``).
    ``leaves`` are the addresses at which its frame ends: returns and tail calls; empty where only the entry
    is in the plan. ``arguments`` are its skbs at the entry; empty where it takes none, or where that is not
    known (``known`` is then False). ``instructions`` are the indices of its instructions in the plan.
    """

    number: int
    symbol: Symbol
    function: str
    parts: tuple[Symbol, ...]
    entry: int
    leaves: tuple[int, ...]
    arguments: tuple[ArgumentLocation, ...]
    known: bool
    instructions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """``function_of`` gives the function's number for each instruction; ``asked`` counts per SPEC."""

    functions: tuple[PlannedFunction, ...]
    instructions: tuple[Instruction, ...]
    function_of: tuple[int, ...]
    asked: dict[str, int] = field(default_factory=dict)

    @property
    def addresses(self) -> list[int]:
        """The addresses to probe."""
        return [one.address for one in self.instructions if one.probe is ProbeState.ATTACHED]

    @property
    def entry_only(self) -> frozenset[int]:
        """The indices of entries of functions of which nothing else is in the plan."""
        return frozenset(one.instructions[0] for one in self.functions if len(one.instructions) == 1)

    def at(self, address: int) -> Instruction | None:
        """Return the instruction at ``address``."""
        return next((one for one in self.instructions if one.address == address), None)

    def refused(self, refusals: Mapping[int, str]) -> Plan:
        """Return the plan with what the kernel refused: {address: reason}."""
        if not refusals:
            return self
        return replace(
            self,
            instructions=tuple(
                replace(one, probe=ProbeState.REFUSED, refusal=refusals[one.address])
                if one.address in refusals and one.probe is ProbeState.ATTACHED
                else one
                for one in self.instructions
            ),
        )


class Planner:
    """Builds plans from targets; everything about the running kernel is handed in."""

    def __init__(
        self,
        kallsyms: Kallsyms,
        text: LiveText,
        types: KernelTypes | None = None,
        blacklist: Blacklist | None = None,
        reserved: ReservedCode | None = None,
        frames: FrameSource | None = None,
        arguments: ArgumentSource | None = None,
    ) -> None:
        self._kallsyms = kallsyms
        self._text = text
        self._types = types
        self._blacklist = blacklist
        self._reserved = reserved
        self._frames = frames
        self._arguments = arguments
        self._behind_tracer = False
        self._many = False
        #: What was decoded already, by address: probes of our own change the code afterwards.
        self._decoded: dict[int, list[Instruction]] = {}
        #: Single instructions that mean the same at any address, by their bytes.
        self._alike: dict[bytes, Instruction] = {}

    def plan(
        self,
        targets: Iterable[Target],
        max_probes: int | None = None,
        behind_tracer: bool = False,
        frames: bool = True,
    ) -> Plan:
        """Decode and mark what is asked. Raises UsageError for a bad offset or more than ``max_probes``.

        ``behind_tracer`` takes the instruction after the function tracer's nop for the entry of functions of
        which only the entry is asked: a kprobe on that nop is slow to arm and to disarm (the tracer goes
        through all its sites each time), which matters for hundreds of them. Without ``frames`` it is not
        told where they are.
        """
        self._behind_tracer = behind_tracer
        pieces = self._pieces(list(targets))
        self._many = len(pieces) > _MANY
        if max_probes is not None:
            refuse_early(pieces, max_probes)
        functions: list[PlannedFunction] = []
        instructions: list[Instruction] = []
        function_of: list[int] = []
        asked: dict[str, int] = {}
        for piece in pieces:
            own = self._entry_only(piece) if piece.only_entry else self._decode(piece)
            first = len(instructions)
            instructions += [replace(one, index=first + n) for n, one in enumerate(own)]
            function_of += [len(functions)] * len(own)
            functions.append(self._function(len(functions), piece, instructions[first:]))
            count = sum(one.probe is ProbeState.ATTACHED for one in own)
            for spec in piece.specs:
                asked[spec] = asked.get(spec, 0) + count
        total = sum(one.probe is ProbeState.ATTACHED for one in instructions)
        if max_probes is not None and total > max_probes:
            raise too_many(total, asked, max_probes)
        if self._frames and frames:
            # What is never executed has no frame in the unwind tables, and .debug_frame is long to search.
            probed = [one for one in instructions if one.probe is ProbeState.ATTACHED]
            for one, rule in zip(probed, self._frames([one.address for one in probed]), strict=True):
                instructions[one.index] = replace(one, frame=rule)
        return Plan(tuple(functions), tuple(instructions), tuple(function_of), asked)

    # ---- what belongs together

    def _pieces(self, targets: list[Target]) -> list[Piece]:
        """Gather the targets by function; fragments join the function they were split from."""
        pieces: dict[int, Piece] = {}
        for target in targets:
            if not is_fragment(target.symbol):
                self._ask(pieces, target, target.symbol)
        for target in targets:
            if is_fragment(target.symbol):
                self._ask(pieces, target, self._parent(target.symbol, pieces))
        return list(pieces.values())

    def _ask(self, pieces: dict[int, Piece], target: Target, owner: Symbol) -> None:
        piece = pieces.setdefault(owner.address, Piece(owner, target.function))
        piece.specs.add(target.spec.text)
        symbol = target.symbol
        if symbol.address != owner.address and symbol not in piece.fragments:
            piece.fragments.append(symbol)
        if target.want is Want.ENTRY:
            piece.entry = True
        elif target.want is Want.INSTRUCTIONS:
            piece.whole.add(symbol.address)
        else:
            exact = target.want is Want.OFFSET
            piece.addresses |= dict.fromkeys(target.addresses, (target.spec.text, exact))

    def _parent(self, fragment: Symbol, pieces: Mapping[int, Piece]) -> Symbol:
        """Return the function a ``.cold`` fragment was split from."""
        name = fragment.name.partition(".cold")[0]
        candidates = {
            one.address: one for one in self._kallsyms.find(name, fragment.module or "vmlinux") if one.is_text
        }
        if len(candidates) > 1:
            # the one that jumps there; those that are asked for first
            order = sorted(candidates.values(), key=lambda one: one.address not in pieces)
            for one in order:
                if any(
                    jump.target is not None and jump.target in fragment for jump in self._disassemble(one)
                ):
                    return one
        if not candidates:
            return fragment
        return next(iter(candidates.values()))

    # ---- decoding

    def _disassemble(self, symbol: Symbol) -> list[Instruction]:
        if symbol.address in self._decoded:
            return self._decoded[symbol.address]
        try:
            code = self._text.function(symbol.address, symbol.size)
        except LookupError as error:
            raise UserError(
                f"the code of {symbol.name} cannot be read: {error}",
                "it may have been freed after the boot (__init), or its module unloaded",
            ) from error
        found = disassemble(code, symbol.address, self._kallsyms.symbolise)
        decoded = self._decoded[symbol.address] = [
            replace(one, symbol=symbol.name, offset=one.address - symbol.address, module=symbol.module)
            for one in found
        ]
        return decoded

    def _entry_only(self, piece: Piece) -> list[Instruction]:
        """Decode only the instruction that the entry's probe is put on."""
        symbol = piece.symbol
        try:
            head = self._text.function(symbol.address, min(_ENTRY_BYTES, symbol.size))
        except LookupError:
            return []
        skip = entry_offset(head)
        site = head[skip:]
        if self._behind_tracer and site.startswith(NOP5):
            skip += len(NOP5)
            site = head[skip:]
        if site.startswith(NOP5):  # by far the most: no need to decode
            found = [
                Instruction(
                    0,
                    symbol.address + skip,
                    symbol.name,
                    skip,
                    symbol.module,
                    NOP5,
                    "nopl   0x0(%rax,%rax,1)",
                )
            ]
        else:
            found = [
                replace(
                    self._decode_one(first_instruction(site), symbol.address + skip),
                    address=symbol.address + skip,
                    symbol=symbol.name,
                    offset=skip,
                    module=symbol.module,
                )
            ]
        return [self._mark(one, asked=True) for one in found]

    def _decode_one(self, code: bytes, address: int) -> Instruction:
        """Decode one instruction. Thousands of functions begin with the same few: those are decoded once."""
        known = self._alike.get(code)
        if known is None:
            known = disassemble(code, address, self._kallsyms.symbolise)[0]
            if known.flow is Flow.NEXT and "rip" not in known.text:  # means the same at any address
                self._alike[code] = known
        return known

    def _decode(self, piece: Piece) -> list[Instruction]:
        found: list[Instruction] = []
        for symbol in (piece.symbol, *piece.fragments):
            code = self._disassemble(symbol)
            padding = trailing_padding(code)
            for number, one in enumerate(code):
                asked = (
                    symbol.address in piece.whole
                    or one.address in piece.addresses
                    or (
                        piece.entry
                        and symbol is piece.symbol
                        and one.address == self._entry(piece.symbol, code)
                    )
                )
                found.append(self._mark(one, asked, padding=number >= padding))
        self._check_addresses(piece, found)
        return self._move_from_endbr(piece, found)

    def _mark(self, one: Instruction, asked: bool, padding: bool = False) -> Instruction:
        if padding or one.text == "int3":
            return replace(one, probe=ProbeState.LEFT_OUT, refusal=PADDING)
        if one.code in ENDBR:
            return replace(one, probe=ProbeState.LEFT_OUT, refusal=_ENDBR)
        if not asked:
            return replace(one, probe=ProbeState.LEFT_OUT, refusal=_NOT_ASKED)
        refusal = None
        if one.flow is Flow.TRAP:
            refusal = _TRAP
        elif self._blacklist is not None and one.address in self._blacklist:
            refusal = _BLACKLISTED
        elif self._reserved is not None:
            refusal = self._reserved.reason(one.address)
        return replace(one, probe=ProbeState.REFUSED if refusal else ProbeState.ATTACHED, refusal=refusal)

    def _move_from_endbr(self, piece: Piece, code: list[Instruction]) -> list[Instruction]:
        """Where the entry's ``endbr64`` was asked for by address or line, probe the instruction after it."""
        if len(code) > 1 and code[0].code in ENDBR and code[0].address in piece.addresses:
            code[1] = self._mark(replace(code[1], probe=ProbeState.ATTACHED), asked=True)
        return code

    def _check_addresses(self, piece: Piece, code: Sequence[Instruction]) -> None:
        known = {one.address: one for one in code}
        for address, (spec, exact) in piece.addresses.items():
            if not exact:
                continue
            one = known.get(address)
            if one is None:
                raise _inside_instruction(spec, address, code)
            if one.probe is ProbeState.REFUSED or one.refusal == PADDING:
                raise UsageError(
                    f"-i {spec}: {one.ksym} ({one.text}) cannot be probed: {one.refusal}",
                    f"see what can be with --list '{piece.symbol.name}+*'",
                )

    @staticmethod
    def _entry(symbol: Symbol, code: Sequence[Instruction]) -> int:
        skip = len(code[0].code) if code and code[0].code in ENDBR else 0
        return symbol.address + skip

    # ---- the function

    def _is_only_one(self, symbol: Symbol) -> bool:
        """Tell whether BTF means this function by its name: of several it describes one, and not which."""
        if self._many and symbol.name not in self._kallsyms.repeated_names:
            return True
        same = self._kallsyms.find(symbol.name, symbol.module or "vmlinux")
        return len({one.address for one in same if one.is_text}) == 1

    def _function(self, number: int, piece: Piece, code: Sequence[Instruction]) -> PlannedFunction:
        symbol = piece.symbol
        arguments = self._types.skb_arguments(symbol) if self._types and self._is_only_one(symbol) else None
        if arguments is None and self._arguments is not None:
            arguments = self._arguments.skb_arguments(symbol.address)
        own = [one for one in code if one.address in symbol]
        entry = own[0].address if piece.only_entry and own else self._entry(symbol, own)
        parts = (symbol, *piece.fragments)
        return PlannedFunction(
            number=number,
            symbol=symbol,
            function=piece.function,
            parts=parts,
            entry=entry,
            leaves=() if piece.only_entry else tuple(one.address for one in code if leaves(one, parts)),
            arguments=arguments or (),
            known=arguments is not None,
            instructions=tuple(one.index for one in code),
        )


def _inside_instruction(spec: str, address: int, code: Sequence[Instruction]) -> UsageError:
    around = next((one for one in code if one.address < address < one.address + len(one.code)), None)
    if around is None:
        return UsageError(f"-i {spec}: there is no instruction")
    after = around.offset + len(around.code)
    return UsageError(
        f"-i {spec}: this is inside the instruction {around.ksym} ({around.text})",
        f"the nearest instructions begin at {around.symbol}+{around.offset} and {around.symbol}+{after}",
    )
