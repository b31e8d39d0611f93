"""Machine code to instructions, in the words of gdb and objdump (AT&T syntax).

capstone decodes; its AT&T text follows LLVM's taste (``movq``, ``8(%rdi)``), which is turned into
binutils' here, because that is what people who read kernel code are used to. What an instruction does to
the flow follows the Intel SDM, volume 2; the names of thunks and trampolines are the kernel's
(arch/x86/lib/retpoline.S, arch/x86/include/asm/static_call.h).
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Final

import capstone

from ktcpdump_tui.model import Flow, Instruction

if TYPE_CHECKING:
    from collections.abc import Callable

    #: Name of an address: ``symbol`` at a symbol's start, ``symbol+OFFSET`` (decimal) inside it, else None.
    Symbolise = Callable[[int], str | None]


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


#: LLVM always writes the size of the operands into these; binutils only where no register shows it.
_SIZED: Final = _words(
    "adc adcx add adox and andn bextr blsi blsmsk blsr bsf bsr bswap bt btc btr bts bzhi cmov cmp cmpxchg",
    "crc32 dec div idiv imul in inc lar lea lsl lzcnt mov movbe movnti mul mulx neg nop not or out pdep",
    "pext pop popcnt push rcl rcr rdfsbase rdgsbase rdrand rdseed rol ror rorx sal sar sarx sbb shl shld",
    "shlx shr shrd shrx sldt smsw str sub test tzcnt verr verw wrfsbase wrgsbase xadd xchg xor",
)
_SHIFTS: Final = frozenset({"sh", "sa", "ro", "rc"})
_SIZES: Final = {"b": 1, "w": 2, "l": 4, "q": 8}

#: The same instruction under two names: LLVM's and binutils'.
_RENAMED: Final = {
    "callq": "call",
    "jmpq": "jmp",
    "retq": "ret",
    "pushfq": "pushf",
    "popfq": "popf",
    "leaveq": "leave",
    "movabsb": "movabs",
    "movabsw": "movabs",
    "movabsl": "movabs",
    "movabsq": "movabs",
    "wait": "fwait",
    ".byte": "(bad)",
}

_CALLS: Final = _words("call lcall lcalll lcallq")
_JUMPS: Final = _words("jmp ljmp ljmpl ljmpq")
_LOOPS: Final = _words("loop loope loopne")
_RETURNS: Final = _words("ret lret lretl lretq iret iretl iretq sysret sysretl sysretq sysexit sysexitq")
_TRAPS: Final = _words("int3 ud0 ud0w ud0l ud0q ud1 ud1w ud1l ud1q ud2 (bad)")

#: Every number but the scale in ``(base,index,scale)``.
_NUMBER: Final = re.compile(r"(\$?)(-?)\b(0x[0-9a-f]+|\d+)\b(?!\))")
_UNSCALED: Final = re.compile(r"(\((?:%\w+)?,%\w+)\)")
_PARENTHESES: Final = re.compile(r"\(.*?\)")
_RIP: Final = re.compile(r"(-?0x[0-9a-f]+|)\(%rip\)")
_REGISTER: Final = re.compile(r"(?:^|,)\*?%[a-z0-9]+(?:,|$)")
_POINTER: Final = re.compile(r"^(?:%(\ws):)?(-?0x[0-9a-f]+)?(?:\((%\w+)?(?:,(%\w+),(\d))?\))?$")
_RETURN_THUNK: Final = re.compile(r"return_thunk$")
_INDIRECT_THUNK: Final = re.compile(r"^__x86_indirect_(?:call_|jump_|its_)?thunk_(r\w+|array)$")
_STATIC_CALL: Final = "__SCT__"
_COLD: Final = re.compile(r"\.cold(?:\.\d+)?$")

_OF_THREAD: Final = threading.local()


def disassemble(code: bytes, address: int, symbolise: Symbolise, index0: int = 0) -> list[Instruction]:
    """Return the instructions of ``code``, the bytes of one function (or a part of it) found at ``address``.

    ``symbolise`` names addresses. Bytes that are no instruction become one-byte ``(bad)`` instructions, as
    in objdump, so the instructions always cover ``code`` without a gap. ``index0`` is the first one's
    index. ``target`` is set for direct calls and jumps; ``call`` names what a call, or a jump that leaves
    the function, goes to: ``symbol``, ``*rax`` through a register (through a retpoline thunk too),
    ``*[rdi+0x8]`` or ``*[symbol+8]`` through memory, ``*key`` through a static call's trampoline.
    """
    decoder = _decoder()
    symbol, offset = _split(symbolise(address), address)
    names = _Names(symbolise, symbol, address, address + len(code))
    instructions: list[Instruction] = []
    for at, size, mnemonic, operands in _decode(decoder, code, address):
        start = at - address
        raw = code[start : start + size]
        mnemonic, operands = _as_binutils(mnemonic, operands, raw)
        flow, target, call = _flow(mnemonic, operands, at + size, names)
        instructions.append(
            Instruction(
                index=index0 + len(instructions),
                address=at,
                symbol=symbol,
                offset=offset + start,
                code=raw,
                text=_text(mnemonic, operands, at + size, target, symbolise),
                flow=flow,
                target=target,
                call=call,
            )
        )
    return instructions


def _decoder() -> capstone.Cs:
    """Return this thread's decoder: making one costs more than decoding an instruction."""
    decoder = getattr(_OF_THREAD, "decoder", None)
    if decoder is None:
        decoder = _OF_THREAD.decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        decoder.syntax = capstone.CS_OPT_SYNTAX_ATT
        decoder.skipdata = True
    return decoder


def _decode(decoder: capstone.Cs, code: bytes, address: int) -> list[tuple[int, int, str, str]]:
    """Decode all of ``code``; runs of undecodable bytes come one by one."""
    rows: list[tuple[int, int, str, str]] = []
    for at, size, mnemonic, operands in decoder.disasm_lite(code, address):
        if mnemonic == ".byte":
            rows.extend((at + n, 1, mnemonic, "") for n in range(size))
        else:
            rows.append((at, size, mnemonic, operands))
    return rows


class _Names:
    """Names of what lies outside the function that is being decoded."""

    def __init__(self, symbolise: Symbolise, symbol: str, low: int, high: int) -> None:
        self.symbolise = symbolise
        self.function = _COLD.sub("", symbol)
        self.low = low
        self.high = high

    def callee(self, target: int) -> str:
        """Return what is shown after ``// CALL`` for a direct call to ``target``."""
        name = self.symbolise(target)
        if name is None:
            return f"0x{target:x}"
        if thunk := _INDIRECT_THUNK.match(name):
            # The array's first entry is rax's, and both names have that address.
            return f"*{thunk[1].replace('array', 'rax')}"
        if name.startswith(_STATIC_CALL):
            return f"*{name.removeprefix(_STATIC_CALL)}"
        return name

    def leaves(self, target: int) -> bool:
        """Tell whether a jump to ``target`` goes to another function, not to a part of this one."""
        if self.low <= target < self.high:
            return False
        name = self.symbolise(target)
        return name is None or _COLD.sub("", name.partition("+")[0]) != self.function


def _flow(mnemonic: str, operands: str, following: int, names: _Names) -> tuple[Flow, int | None, str | None]:
    """Return the flow of an instruction, its direct target, and the name of what it calls."""
    verb = mnemonic.split()[-1]
    if verb in _TRAPS:
        return Flow.TRAP, None, None
    if verb in _RETURNS:
        return Flow.RETURN, None, None
    is_call, is_jump = verb in _CALLS, verb in _JUMPS
    if not (is_call or is_jump or verb.startswith("j") or verb in _LOOPS):
        return Flow.NEXT, None, None
    if operands.startswith("*"):
        through = _through(operands[1:], following, names.symbolise)
        if is_call:
            return Flow.CALL, None, through
        # A scaled index is a switch's jump table: it stays in the function.
        return Flow.JUMP, None, None if through and "*8" in through else through
    if not operands.startswith("0x"):
        return (Flow.CALL if is_call else Flow.JUMP), None, None
    target = int(operands, 16)
    if is_call:
        return Flow.CALL, target, names.callee(target)
    if is_jump and _RETURN_THUNK.search(names.symbolise(target) or ""):
        return Flow.RETURN, target, None
    return (
        Flow.JUMP if is_jump else Flow.BRANCH,
        target,
        names.callee(target) if names.leaves(target) else None,
    )


def _through(operand: str, following: int, symbolise: Symbolise) -> str | None:
    """Name an indirect target: ``*rax``, ``*[rdi+0x8]``, ``*[symbol]``; None for what has no such form."""
    if operand.startswith("%") and ":" not in operand:
        return f"*{operand[1:]}"
    pointer = _POINTER.match(operand)
    if pointer is None:
        return None
    segment, displacement, base, index, scale = pointer.groups()
    offset = int(displacement or "0", 16)
    prefix = f"{segment}:" if segment else ""
    if base == "%rip" or (base is None and index is None and segment is None):
        slot = (offset + (following if base else 0)) & 0xFFFF_FFFF_FFFF_FFFF
        return f"*[{prefix}{symbolise(slot) or f'0x{slot:x}'}]"
    parts = [base[1:]] if base else []
    if index:
        parts.append(f"{index[1:]}*{scale}" if scale != "1" else index[1:])
    where = "+".join(parts)
    if offset or not parts:
        where += f"{'-' if offset < 0 else '+' if parts else ''}0x{abs(offset):x}"
    return f"*[{prefix}{where}]"


def _text(mnemonic: str, operands: str, following: int, target: int | None, symbolise: Symbolise) -> str:
    """Return the line gdb would print, names of targets and of rip-relative data in angle brackets."""
    if not operands:
        return mnemonic
    text = f"{mnemonic:<6} {operands}"
    if target is not None:
        name = symbolise(target)
        return f"{text} <{name}>" if name else text
    if data := _RIP.search(operands):
        where = (following + int(data[1] or "0", 16)) & 0xFFFF_FFFF_FFFF_FFFF
        name = symbolise(where)
        return f"{text}        # 0x{where:x}" + (f" <{name}>" if name else "")
    return text


def _split(name: str | None, address: int) -> tuple[str, int]:
    """Take ``symbol+OFFSET`` apart; an address without a name is its own symbol."""
    if name is None:
        return f"0x{address:x}", 0
    symbol, _, offset = name.partition("+")
    return symbol, int(offset or "0", 0)


def _as_binutils(mnemonic: str, operands: str, raw: bytes) -> tuple[str, str]:
    """Turn LLVM's AT&T into binutils': no size letter that a register tells, and numbers in hexadecimal."""
    *prefixes, verb = mnemonic.split()
    operands = _operands(operands, _SIZES.get(verb[-1], 8))
    verb = _RENAMED.get(verb, verb)
    if verb[:-1] in _SIZED or (verb.startswith("cmov") and verb[-1] in _SIZES and verb[4:-1]):
        # The count of a shift is a register too, and says nothing of the size.
        sizing = operands.removeprefix("%cl,") if verb[:2] in _SHIFTS else operands
        if _REGISTER.search(_PARENTHESES.sub("", sizing)) or verb[:-1] in ("push", "pop"):
            verb = verb[:-1]
    # A segment override that has no memory operand to apply to: padding, or a hint of the compiler's.
    if raw[:1] == b"\x2e" and verb in ("call", "jmp"):
        prefixes.append("cs")
    return " ".join([*prefixes, verb]), operands


def _operands(operands: str, size: int) -> str:
    """Write numbers in hexadecimal, immediates without a sign (``size`` bytes), scales always; no blanks."""

    def number(match: re.Match[str]) -> str:
        dollar, minus, digits = match.groups()
        value = int(digits, 0)
        if dollar and minus:
            return f"$0x{-value & ((1 << 8 * size) - 1):x}"
        return f"{dollar}{minus}0x{value:x}"

    return _UNSCALED.sub(r"\1,1)", _NUMBER.sub(number, operands.replace(", ", ",")))
