"""Frame rules: ORC against .debug_frame on stock kernels, and both on programs the test assembles."""

from __future__ import annotations

import re
import struct
import subprocess
from typing import TYPE_CHECKING

import capstone
import pytest

from ktcpdump_tui.debuginfo.frames import frame_rules
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.orc import OrcTable
from ktcpdump_tui.model import FrameRule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.debuginfo.conftest import StockKernel

NETWORK = re.compile(
    r"(veth|br|tcp|udp|ip|ip6|ipv6|skb|netif|napi|dev|fib|inet|neigh|arp|icmp|sock|nf|qdisc|dst)_"
)
SP, R10 = 7, 10


def functions(image: DebugImage, count: int) -> Iterator[tuple[str, int, list[tuple[int, str, str]]]]:
    """Yield (name, address, instructions) of ``count`` network functions spread over the image."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    section = image.elf.section(".text")
    assert section
    base, code = image.section_addresses[".text"], image.elf.data(section)
    chosen = [
        symbol
        for symbol in image.symbols.functions()
        if NETWORK.match(symbol.name) and symbol.size > 16 and base <= symbol.address < base + section.size
    ]
    for symbol in chosen[:: max(len(chosen) // count, 1)]:
        data = bytes(code[symbol.address - base : symbol.address - base + symbol.size])
        instructions = [(at, name, args) for at, _, name, args in decoder.disasm_lite(data, symbol.address)]
        yield symbol.name, symbol.address, instructions


def explained(
    orc: FrameRule | None, dwarf: FrameRule | None, instructions: list[tuple[int, str, str]], at: int
) -> bool:
    """Whether two rules that differ mean the same frame, or the instruction never runs."""
    name = instructions[at][1]
    if orc is None:  # objtool has no rule for what nothing leads to: the int3 after an indirect jump
        return name == "int3" and instructions[at - 1][1] in ("jmp", "ret")
    # A realigned stack: gcc counts from r10 as soon as it holds the CFA, objtool one instruction later.
    lea = instructions[at - 1]
    return (
        lea[1:] == ("lea", "r10, [rsp + 8]")
        and (orc, dwarf) == (FrameRule(SP, 8), FrameRule(R10, 0))
        and name == "and"
    )


def test_orc_and_dwarf_agree(vmlinux: DebugImage) -> None:
    compared, wrong = 0, []
    assert vmlinux.orc
    for function, start, instructions in functions(vmlinux, 320):
        addresses = [at for at, _, _ in instructions]
        rules = zip(vmlinux.orc.rules(addresses), vmlinux.frame_rules(addresses), strict=True)
        for index, (orc, dwarf) in enumerate(rules):
            compared += 1
            assert dwarf is not None
            if orc != dwarf and not explained(orc, dwarf, instructions, index):
                wrong.append((function, addresses[index] - start, orc, dwarf))
    assert compared > 20_000
    assert not wrong


@pytest.mark.parametrize("module", ["drivers/net/veth", "net/netfilter/nf_tables", "net/bridge/bridge"])
def test_orc_and_dwarf_agree_in_modules(stock_kernel: StockKernel, module: str) -> None:
    with DebugImage.open(stock_kernel.module(module), {".text": 0xFFFFFFFFC0123000}) as image:
        assert image.orc
        compared = 0
        for _, _, instructions in functions(image, 400):
            addresses = [at for at, _, _ in instructions]
            rules = zip(image.orc.rules(addresses), image.frame_rules(addresses), strict=True)
            for index, (orc, dwarf) in enumerate(rules):
                compared += 1
                assert orc == dwarf or explained(orc, dwarf, instructions, index)
        assert compared > 10


def test_entry_and_pushes(vmlinux: DebugImage) -> None:
    (symbol,) = vmlinux.symbols.named("ip_rcv_core")
    assert frame_rules([symbol.address], vmlinux) == [FrameRule(SP, 8)]
    for function, start, instructions in functions(vmlinux, 40):
        if ".cold" in function:  # entered by a jump
            continue
        depth = 8
        for at, name, args in instructions:
            if name not in ("nop", "endbr64", "push", "mov", "call") or args.startswith("rbp, "):
                break
            assert frame_rules([at], vmlinux) == [FrameRule(SP, depth)], hex(start)
            depth += 8 * (name == "push")


def orc_table(rows: list[tuple[int, int, int, int]], base: int) -> OrcTable:
    """Build the two sections from (address, sp_offset, sp_reg, type)."""
    ips = b"".join(struct.pack("<i", at - (base + 4 * index)) for index, (at, *_) in enumerate(rows))
    entries = b"".join(struct.pack("<hhH", offset, 0, reg | kind << 8) for _, offset, reg, kind in rows)
    return OrcTable(ips, entries, base)


@pytest.mark.parametrize("call", [0, 2])
def test_orc_registers(call: int) -> None:
    base = 0xFFFFFFFF82000000
    text = 0xFFFFFFFF81000000
    table = orc_table(
        [
            (text, 8, 5, call),
            (text + 0x10, 16, 4, call),
            (text + 0x20, -8, 8, call),
            (text + 0x30, 0, 6, call),
            (text + 0x40, 8, 9, call),  # SP_INDIRECT: cannot be said
            (text + 0x50, 0, 0, call),  # undefined
            (text + 0x60, 0, 5, 3),  # pt_regs
            (text + 0x70, 24, 5, call),
            (text + 0x80, 32, 5, call),
        ],
        base,
    )
    assert table.call_type == call
    assert table.rule(text - 1) is None
    assert table.rule(text) == table.rule(text + 0xF) == FrameRule(SP, 8)
    assert table.rule(text + 0x10) == FrameRule(6, 16)
    assert table.rule(text + 0x20) == FrameRule(6, -8, indirect=True)
    assert table.rule(text + 0x30) == FrameRule(R10, 0)
    assert [table.rule(text + at) for at in (0x40, 0x50, 0x60)] == [None] * 3
    assert table.rule(text + 0x70) == FrameRule(SP, 24)


def test_orc_unsorted_as_in_a_module() -> None:
    table = orc_table([(0x3000, 24, 5, 2), (0x1000, 8, 5, 2), (0x2000, 16, 5, 2)], 0x8000)
    assert [table.rule(at) for at in (0x1000, 0x2FFF, 0x3001)] == [
        FrameRule(SP, 8),
        FrameRule(SP, 16),
        FrameRule(SP, 24),
    ]


def test_orc_empty() -> None:
    assert OrcTable(b"", b"", 0x1000).rules([1, 2]) == [None, None]


CFI = """
        .cfi_sections .debug_frame
        .text
        .globl f
f:      .cfi_startproc
        nop
        .cfi_def_cfa_offset 16
        nop
        .cfi_def_cfa 6, 32
        nop
        .cfi_remember_state
        .cfi_def_cfa_register 3
        nop
        .cfi_restore_state
        nop
        .cfi_escape 0x0f, 3, 0x76, 0x78, 0x06
        nop
        .cfi_escape 0x0f, 2, 0x7a, 0x00
        nop
        .cfi_escape 0x0f, 4, 0x77, 0x08, 0x06, 0x06
        nop
        .cfi_def_cfa 7, 8
        .skip 300, 0x90
        .cfi_def_cfa_offset 24
        .skip 70000, 0x90
        .cfi_def_cfa_offset 40
        nop
        .cfi_endproc
g:      nop
"""


def test_call_frame_instructions(tmp_path: Path) -> None:
    (tmp_path / "a.s").write_text(CFI)
    subprocess.run(["gcc", "-g", "-c", "a.s", "-o", "a.o"], cwd=tmp_path, check=True)
    base = 0xFFFFFFFFC0000000
    with DebugImage.open(tmp_path / "a.o", {".text": base}) as image:
        rules = image.frame_rules([base + at for at in range(8)])
        assert rules == [
            FrameRule(SP, 8), FrameRule(SP, 16), FrameRule(6, 32), FrameRule(3, 32), FrameRule(6, 32),
            FrameRule(6, -8, indirect=True), FrameRule(10, 0), None,
        ]  # fmt: skip
        far = [base + 8, base + 307, base + 308, base + 70307, base + 70308, base + 70309, base - 1]
        assert image.frame_rules(far) == [
            FrameRule(SP, 8), FrameRule(SP, 8), FrameRule(SP, 24), FrameRule(SP, 24), FrameRule(SP, 40),
            None, None,
        ]  # fmt: skip


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_readelf_agrees(compile_c: Callable[..., Path], compiler: str) -> None:
    source = """
        __attribute__((noinline)) int g(int *p, int n) { __asm__ volatile("" : "+r"(p)); return *p + n; }
        int f(int n) { int a[64]; int b[n]; a[0] = b[0] = n; return g(a, n) + g(b, n) + n * g(a, 1); }
        int h(int x, int y, int z) { int a[9] = {x, y, z}; return g(a, x) + g(a, y) * g(a, z) + x * y * z; }
        int main(int n, char **v) { return f(n) + h(n, n + 1, n + 2); }
    """
    path = compile_c(source, "-g", "-O1", "-fno-asynchronous-unwind-tables", "-no-pie", compiler=compiler)
    text = subprocess.check_output(["readelf", "--debug-dump=frames-interp", path], text=True)
    section = text[text.index("Contents of the .debug_frame") :]
    compared = 0
    with DebugImage.open(path) as image:
        for line in section.splitlines():
            found = re.match(r"([0-9a-f]{16}) (rsp|rbp)\+(\d+) ", line)
            if found and int(found[1], 16):  # a CIE's own row has address 0
                compared += 1
                rule = FrameRule({"rsp": 7, "rbp": 6}[found[2]], int(found[3]))
                assert image.frame_rules([int(found[1], 16)]) == [rule], line
    assert compared > 10
