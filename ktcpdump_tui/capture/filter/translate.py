"""Classic BPF to C: what BCC compiles into the kernel's program, and gcc into the tests'.

The C works on a buffer into which the caller has copied the first bytes of the packet. Two readers have to
be content with it. The kernel's verifier wants every access inside the buffer whatever the data are: constant
offsets are, and computed ones are masked with the buffer's size, a power of two. And the meaning has to be
libpcap's bpf_filter(): a load that ends after ``caplen`` rejects the packet, so does a division by zero, and
arithmetic is that of unsigned 32-bit numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.filter import bpf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.capture.filter.bpf import BpfInsn

#: Bytes that a masked four-byte load may reach over the last masked offset, rounded up.
SLACK: Final = 8

#: Loads and the type names of the functions; safe to repeat in one translation unit.
PRELUDE: Final = """\
#ifndef KTD_FILTER_PRELUDE
#define KTD_FILTER_PRELUDE
#define KTD_INLINE static inline __attribute__((always_inline))
typedef unsigned char ktd_u8;
typedef unsigned short ktd_u16;
typedef unsigned int ktd_u32;
typedef unsigned long long ktd_u64;
#ifdef KTD_FILTER_NATIVE
KTD_INLINE ktd_u16 ktd_raw16(const ktd_u8 *p) { ktd_u16 v; __builtin_memcpy(&v, p, 2); return v; }
KTD_INLINE ktd_u32 ktd_raw32(const ktd_u8 *p) { ktd_u32 v; __builtin_memcpy(&v, p, 4); return v; }
#else
/* One load instead of the four that clang makes for BPF of a copy of unknown alignment. */
KTD_INLINE ktd_u16 ktd_raw16(const ktd_u8 *p) { return *(const ktd_u16 *)p; }
KTD_INLINE ktd_u32 ktd_raw32(const ktd_u8 *p) { return *(const ktd_u32 *)p; }
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define KTD_BE16(v) __builtin_bswap16(v)
#define KTD_BE32(v) __builtin_bswap32(v)
#else
#define KTD_BE16(v) (v)
#define KTD_BE32(v) (v)
#endif
KTD_INLINE ktd_u32 ktd_load1(const ktd_u8 *p) { return *p; }
KTD_INLINE ktd_u32 ktd_load2(const ktd_u8 *p) { return KTD_BE16(ktd_raw16(p)); }
KTD_INLINE ktd_u32 ktd_load4(const ktd_u8 *p) { return KTD_BE32(ktd_raw32(p)); }
/* The empty asm keeps the compiler from dropping a mask that it, not the verifier, knows to be needless. */
KTD_INLINE ktd_u64 ktd_bounded(ktd_u64 offset, ktd_u64 mask)
{
	__asm__ volatile("" : "+r"(offset));
	return offset & mask;
}
#endif
"""

_ALU: Final = {
    bpf.ADD: "+",
    bpf.SUB: "-",
    bpf.MUL: "*",
    bpf.OR: "|",
    bpf.AND: "&",
    bpf.XOR: "^",
    bpf.DIV: "/",
    bpf.MOD: "%",
}
_JUMPS: Final = {bpf.JEQ: "==", bpf.JGT: ">", bpf.JGE: ">=", bpf.JSET: "&"}


def buffer_mask(snaplen: int) -> int:
    """Return 2**n - 1, the highest offset in the smallest such buffer that holds ``snaplen`` bytes."""
    return (1 << max(snaplen - 1, 1).bit_length()) - 1


def to_c(program: Sequence[BpfInsn], name: str, snaplen: int) -> str:
    """Return the C function ``int name(const ktd_u8 *pkt, ktd_u32 caplen, ktd_u32 wirelen)``.

    It returns 1 where the program selects the packet, else 0. ``pkt`` must have ``buffer_mask(snaplen) + 1 +
    SLACK`` readable bytes, of which ``caplen`` (at most snaplen) are the packet's. The program must be valid
    (bpf_validate) and without backward jumps. PRELUDE has to come first.
    """
    known = bpf.analyse(program)
    live = [index for index, state in enumerate(known) if state is not None]
    targets = {target for index in live for target in successors_by_jump(index, program[index])}
    mask = buffer_mask(snaplen)
    body: list[str] = []
    for index in live:
        state = known[index]
        assert state is not None
        if index in targets:
            body.append(f"l{index}: ;")
        body.extend(f"\t{line}" for line in _statements(index, program[index], state, mask))
    slots = sorted({program[i].k for i in live if _uses_memory(program[i])})
    variables = ["a = 0", "x = 0", *(f"m{slot} = 0" for slot in slots)]
    return "\n".join(
        [
            f"KTD_INLINE int {name}(const ktd_u8 *pkt, ktd_u32 caplen, ktd_u32 wirelen)",
            "{",
            f"\tktd_u32 {', '.join(variables)};",
            "\tktd_u64 o = 0;",
            "\t(void)pkt; (void)caplen; (void)wirelen; (void)o;",
            "\t" + " ".join(f"(void){variable.split()[0]};" for variable in variables),
            *body,
            "}",
            "",
        ]
    )


def successors_by_jump(index: int, insn: BpfInsn) -> tuple[int, ...]:
    """Return the targets for which a goto is written: those of a jump that are not the next instruction."""
    if bpf.instruction_class(insn) != bpf.JMP:
        return ()
    return tuple(target for target in bpf.successors(index, insn) if target != index + 1)


def _uses_memory(insn: BpfInsn) -> bool:
    kind = bpf.instruction_class(insn)
    return kind in (bpf.ST, bpf.STX) or (kind in (bpf.LD, bpf.LDX) and insn.code & 0xE0 == bpf.MEM)


def _statements(index: int, insn: BpfInsn, known: bpf.Known, mask: int) -> list[str]:
    """Return the C lines of one instruction."""
    kind = bpf.instruction_class(insn)
    if kind in (bpf.LD, bpf.LDX):
        return _load(insn, known, mask)
    if kind == bpf.ST:
        return [f"m{insn.k} = a;"]
    if kind == bpf.STX:
        return [f"m{insn.k} = x;"]
    if kind == bpf.ALU:
        return _arithmetic(insn)
    if kind == bpf.JMP:
        return _jump(index, insn)
    if kind == bpf.MISC:
        return ["a = x;" if insn.code & bpf.X_TO_A else "x = a;"]
    return ["return a != 0;" if insn.code & bpf.RETURN_A else f"return {int(insn.k != 0)};"]


def _load(insn: BpfInsn, known: bpf.Known, mask: int) -> list[str]:
    register = "a" if bpf.instruction_class(insn) == bpf.LD else "x"
    mode = insn.code & 0xE0
    if mode == bpf.IMM:
        return [f"{register} = {insn.k}u;"]
    if mode == bpf.MEM:
        return [f"{register} = m{insn.k};"]
    if mode == bpf.LEN:
        return [f"{register} = wirelen;"]
    size = bpf.load_size(insn)
    if mode == bpf.IND:
        return [
            f"o = (ktd_u64)x + {insn.k}u;",
            f"if (o + {size} > caplen) return 0;",
            f"{register} = ktd_load{size}(pkt + ktd_bounded(o, {mask}));",
        ]
    end = insn.k + size
    if end > mask + 1:  # caplen never reaches that far
        return ["return 0;"]
    # A load that every path here has already passed needs no second check.
    check = [f"if (caplen < {end}) return 0;"] if known.caplen < end else []
    value = f"ktd_load{size}(pkt + {insn.k})"
    return [*check, f"{register} = ({value} & 0xf) << 2;" if mode == bpf.MSH else f"{register} = {value};"]


def _arithmetic(insn: BpfInsn) -> list[str]:
    operation = insn.code & 0xF0
    if operation == bpf.NEG:
        return ["a = 0u - a;"]
    by_x = bool(insn.code & bpf.X_OPERAND)
    if operation in (bpf.LSH, bpf.RSH):
        # C leaves shifts by 32 and more undefined; bpf_filter() gives 0.
        shift = "<<" if operation == bpf.LSH else ">>"
        if by_x:
            return [f"a = x < 32 ? a {shift} (x & 31) : 0;"]
        return [f"a = a {shift} {insn.k};" if insn.k < 32 else "a = 0;"]
    statement = f"a = a {_ALU[operation]} {'x' if by_x else f'{insn.k}u'};"
    if operation in (bpf.DIV, bpf.MOD) and by_x:
        return ["if (x == 0) return 0;", statement]
    return [statement]


def _jump(index: int, insn: BpfInsn) -> list[str]:
    operation = insn.code & 0xF0
    after = index + 1
    if operation == bpf.JA:
        (target,) = bpf.successors(index, insn)
        return [f"goto l{target};"] if target != after else []
    on_true, on_false = bpf.successors(index, insn)
    operand = "x" if insn.code & bpf.X_OPERAND else f"{insn.k}u"
    condition = f"a {_JUMPS[operation]} {operand}"
    if on_true == on_false:
        return [f"goto l{on_true};"] if on_true != after else []
    if on_false == after:
        return [f"if ({condition}) goto l{on_true};"]
    if on_true == after:
        return [f"if (!({condition})) goto l{on_false};"]
    return [f"if ({condition}) goto l{on_true}; else goto l{on_false};"]
