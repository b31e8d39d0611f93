"""What kinds of instructions there are in a function: padding, ends of its frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import capstone

from ktcpdump_tui.model import Flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.kernel.symbols import Symbol
    from ktcpdump_tui.model import Instruction

#: The refusal of what only fills the space between functions.
PADDING: Final = "padding"

_DECODER: Final = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)


def first_instruction(code: bytes) -> bytes:
    """Return the bytes of the instruction that ``code`` begins with; one byte where it is none."""
    return code[: next((size for _, size, _, _ in _DECODER.disasm_lite(code, 0, 1)), 1)]


def leaves(one: Instruction, parts: Sequence[Symbol]) -> bool:
    """Tell whether the frame ends with this instruction: a return, or a jump to another function."""
    if one.refusal == PADDING:
        return False
    if one.flow is Flow.RETURN:
        return True
    if one.flow is not Flow.JUMP:
        return False
    if one.target is None:
        return one.call is not None  # an indirect jump that is no switch
    return not any(one.target in part for part in parts) and ".cold" not in (one.call or "")


def trailing_padding(code: Sequence[Instruction]) -> int:
    """Return the number of the first instruction of the padding after the function; len(code) without any."""
    end = len(code)
    while end > 0 and (code[end - 1].text == "int3" or _is_nop(code[end - 1]) or not any(code[end - 1].code)):
        end -= 1
    if end == 0:
        return len(code)
    # nops that are run into belong to the function
    falls = code[end - 1].flow in (Flow.NEXT, Flow.CALL, Flow.BRANCH)
    while falls and end < len(code) and code[end].text != "int3":
        end += 1
    return end


def _is_nop(one: Instruction) -> bool:
    return one.text.split(" ", 1)[0].rstrip("wl") in ("nop", "data16", "cs") or one.code == b"\x66\x90"
