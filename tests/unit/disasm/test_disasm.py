"""Disassembly: objdump is the oracle for stock kernels, the assembler for what stock kernels hide."""

from __future__ import annotations

import bisect
import random
import re
import subprocess
from pathlib import Path

import pytest

from ktcpdump_tui.debuginfo.disasm import disassemble
from ktcpdump_tui.model import Flow, Instruction

KERNELS = sorted(Path("~/.cache/ktcpdump-tui/lab").expanduser().glob("*/root/usr/lib/debug/boot/vmlinux-*"))
WINDOW = 60


class Symbols:
    """Text symbols of a linked file, from nm."""

    def __init__(self, path: Path) -> None:
        rows = []
        for line in subprocess.check_output(["nm", path], text=True).splitlines():
            if (match := re.match(r"([0-9a-f]{16}) [tTwW] (\S+)", line)) and int(match[1], 16) > 1 << 20:
                rows.append((int(match[1], 16), match[2]))
        self.by_address: dict[int, str] = {}
        for address, name in sorted(rows):
            self.by_address.setdefault(address, name)
        self.by_name = {name: address for address, name in rows}
        self.addresses = sorted(self.by_address)

    def end(self, address: int) -> int:
        return self.addresses[bisect.bisect_right(self.addresses, address)]

    def __call__(self, address: int) -> str | None:
        at = bisect.bisect_right(self.addresses, address) - 1
        if at < 0 or address - self.addresses[at] > 1 << 20:
            return None
        start = self.addresses[at]
        return self.by_address[start] + (f"+{address - start}" if address > start else "")


class Kernel:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.symbols = Symbols(path)
        segments = subprocess.check_output(["readelf", "-lW", path], text=True)
        match = re.search(r"LOAD\s+(0x\w+) (0x\w+)", segments)
        assert match
        self.file_offset, self.base = int(match[1], 16), int(match[2], 16)

    def code(self, address: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(address - self.base + self.file_offset)
            return file.read(self.symbols.end(address) - address)

    def disassemble(self, name: str) -> list[Instruction]:
        address = self.symbols.by_name[name]
        return disassemble(self.code(address), address, self.symbols)


@pytest.fixture(scope="module", params=KERNELS, ids=[path.name for path in KERNELS])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return Kernel(request.param)


def test_there_are_kernels_to_check_against() -> None:
    assert len(KERNELS) >= 2, (
        "fetch them with: ktcpdump-tui --lab=6.1 --check; ktcpdump-tui --lab=6.12 --check"
    )


def plain(text: str) -> str:
    """What is left of a line when spelling that carries no meaning is taken away."""
    text = re.sub(r"\s*(#|<).*", "", text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\b0x(?=ffffffff[89a-f])", "", text)  # objdump writes targets without 0x
    text = re.sub(r"(?<![0-9a-z])0x0\(", "(", text)  # a displacement of zero that the encoding needs
    text = re.sub(r"^(?:(?:data16|cs) )*nopw (?:%cs:)?", "nopw ", text)  # padding
    text = text.replace("xchg %ax,%ax", "nop")
    text = re.sub(r"^(sh[lr]|sa[lr]|ro[lr]|rc[lr])([bwlq]?) \$0x1,", r"\1\2 ", text)  # shift by one
    text = re.sub(r"^(rep|repz|repnz)( \w+?)[bwlq]? .*", r"\1\2", text)  # implied operands
    return re.sub(r"^repz? ?", "rep ", text)


def windows(symbols: Symbols) -> list[tuple[int, int]]:
    """Address ranges of a few hundred functions of the network stack: one objdump run for each."""
    starts = [
        "ip_rcv_core",
        "tcp_v4_rcv",
        "__netif_receive_skb_core.constprop.0",
        "nf_hook_slow",
        "ip6_input",
        "skb_clone",
    ]
    ranges = []
    for name in starts:
        low = symbols.by_name[name]
        at = bisect.bisect_left(symbols.addresses, low)
        ranges.append((low, symbols.addresses[at + WINDOW]))
    return ranges


def test_agrees_with_objdump(kernel: Kernel) -> None:
    compared, functions, differences = 0, 0, []
    for low, high in windows(kernel.symbols):
        output = subprocess.check_output(
            [
                "objdump",
                "-d",
                "--no-show-raw-insn",
                f"--start-address={low}",
                f"--stop-address={high}",
                kernel.path,
            ],
            text=True,
        )
        theirs = {
            int(match[1], 16): match[2].strip()
            for match in re.finditer(r"^([0-9a-f]{16}):\t(.*)$", output, re.MULTILINE)
        }
        ours: dict[int, Instruction] = {}
        start = low
        while start < high:
            functions += 1
            ours |= {each.address: each for each in disassemble(kernel.code(start), start, kernel.symbols)}
            start = kernel.symbols.end(start)
        assert ours.keys() == theirs.keys(), f"boundaries differ after {kernel.symbols(low)}"
        for address, instruction in ours.items():
            compared += 1
            if plain(instruction.text) != plain(theirs[address]):
                differences.append((instruction.ksym, instruction.text, theirs[address]))
    assert functions >= 300
    assert compared > 20_000
    assert differences == []


def test_covers_every_byte_and_numbers_on(kernel: Kernel) -> None:
    address = kernel.symbols.by_name["ip_rcv_core"]
    code = kernel.code(address)
    instructions = disassemble(code, address, kernel.symbols, index0=40)
    assert b"".join(each.code for each in instructions) == code
    assert [each.index for each in instructions] == list(range(40, 40 + len(instructions)))
    assert all(each.address == address + each.offset for each in instructions)
    assert {each.symbol for each in instructions} == {"ip_rcv_core"}


def test_flow_of_ip_rcv_core(kernel: Kernel) -> None:
    instructions = kernel.disassemble("ip_rcv_core")
    first = instructions[0]
    assert (first.flow, first.call) == (Flow.CALL, "__fentry__")
    assert first.text == f"call   0x{kernel.symbols.by_name['__fentry__']:x} <__fentry__>"
    calls = {each.call for each in instructions if each.flow is Flow.CALL}
    assert {"skb_clone", "__pskb_pull_tail"} <= calls
    returns = [each for each in instructions if each.flow is Flow.RETURN]
    assert returns
    assert all("__x86_return_thunk" in each.text and each.call is None for each in returns)
    branches = [each for each in instructions if each.flow is Flow.BRANCH]
    inside = [each for each in branches if each.call is None]
    assert inside
    starts = {each.address for each in instructions}
    assert all(
        each.target in starts for each in inside if each.symbol in each.text.partition("<")[2].split("+")[0]
    )


def test_retpolines_are_the_register_they_hide(kernel: Kernel) -> None:
    instructions = kernel.disassemble("ip_rcv_core") + kernel.disassemble("dev_hard_start_xmit")
    instructions += kernel.disassemble("inet_gro_receive") + kernel.disassemble("nf_hook_slow")
    hidden = [each for each in instructions if "__x86_indirect_thunk_" in each.text]
    assert hidden
    for each in hidden:
        assert each.call == "*" + each.text.rstrip(">").rpartition("_")[2].replace("array", "rax")


ASSEMBLY = """
    .text
    .globl  f, other, __x86_return_thunk, __x86_indirect_thunk_r11, __SCT__key, slot, table, f.cold
f:  endbr64
    .byte 0x0f, 0x1f, 0x44, 0x00, 0x00
    call    other
    call    *%rax
    call    *0x8(%rdi)
    call    *slot(%rip)
    call    *0x10(%rax,%rbx,8)
    call    *%gs:0x30
    call    *table
    call    __x86_indirect_thunk_r11
    call    __SCT__key
    je      1f
    jne     f.cold
    jmp     *table(,%rax,8)
    jmp     *%rdx
    jmp     __x86_indirect_thunk_r11
    jmp     1f
1:  jmp     other
    jmp     other + 1
    jz      other
    mov     slot(%rip), %rax
    movl    $-1, 8(%rsp)
    movabs  $0x1122334455667788, %rcx
    loop    1b
    jrcxz   1b
    ud2
    int3
    ret
    iretq
    .byte   0x06
    notrack jmp *%rax
    jmp     __x86_return_thunk
    .byte   0x0f
other:
    nop
    ret
__x86_return_thunk:
    ret
__x86_indirect_thunk_r11:
    jmp     *%r11
__SCT__key:
    ret
f.cold:
    jmp     f + 4
    .data
slot:   .quad 0
table:  .quad 0
"""


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Symbols, list[Instruction]]:
    folder = tmp_path_factory.mktemp("asm")
    (folder / "a.s").write_text(ASSEMBLY)
    subprocess.run(
        [
            "gcc",
            "-nostdlib",
            "-static",
            "-no-pie",
            "-Wl,-Ttext=0x41000000,-Tdata=0x42000000,-e,f",
            "-o",
            folder / "a",
            folder / "a.s",
        ],
        check=True,
    )
    symbols = Symbols(folder / "a")
    for line in subprocess.check_output(["nm", folder / "a"], text=True).splitlines():
        if match := re.match(r"([0-9a-f]{16}) [dD] (slot|table)$", line):
            symbols.by_address[int(match[1], 16)] = match[2]
    symbols.addresses = sorted(symbols.by_address)
    dump = subprocess.check_output(["objcopy", "-O", "binary", "-j", ".text", folder / "a", "/dev/stdout"])
    low, high = symbols.by_name["f"], symbols.by_name["other"]
    text = dump[: high - low]
    return symbols, disassemble(text, low, symbols)


def test_every_kind_of_flow(assembled: tuple[Symbols, list[Instruction]]) -> None:
    symbols, instructions = assembled
    other = symbols.by_name["other"]
    summary = [(each.text.split()[0], each.flow, each.call) for each in instructions]
    assert summary == [
        ("endbr64", Flow.NEXT, None),
        ("nopl", Flow.NEXT, None),
        ("call", Flow.CALL, "other"),
        ("call", Flow.CALL, "*rax"),
        ("call", Flow.CALL, "*[rdi+0x8]"),
        ("call", Flow.CALL, "*[slot]"),
        ("call", Flow.CALL, "*[rax+rbx*8+0x10]"),
        ("call", Flow.CALL, "*[gs:0x30]"),
        ("call", Flow.CALL, "*[table]"),
        ("call", Flow.CALL, "*r11"),
        ("call", Flow.CALL, "*key"),
        ("je", Flow.BRANCH, None),
        ("jne", Flow.BRANCH, None),
        ("jmp", Flow.JUMP, None),
        ("jmp", Flow.JUMP, "*rdx"),
        ("jmp", Flow.JUMP, "*r11"),
        ("jmp", Flow.JUMP, None),
        ("jmp", Flow.JUMP, "other"),
        ("jmp", Flow.JUMP, "other+1"),
        ("je", Flow.BRANCH, "other"),
        ("mov", Flow.NEXT, None),
        ("movl", Flow.NEXT, None),
        ("movabs", Flow.NEXT, None),
        ("loop", Flow.BRANCH, None),
        ("jrcxz", Flow.BRANCH, None),
        ("ud2", Flow.TRAP, None),
        ("int3", Flow.TRAP, None),
        ("ret", Flow.RETURN, None),
        ("iretq", Flow.RETURN, None),
        ("(bad)", Flow.TRAP, None),
        ("notrack", Flow.JUMP, "*rax"),
        ("jmp", Flow.RETURN, None),
        ("(bad)", Flow.TRAP, None),
    ]
    assert [each.target for each in instructions if each.call == "other"] == [other] * 3


def test_text_names_data_and_targets(assembled: tuple[Symbols, list[Instruction]]) -> None:
    texts = [each.text for each in assembled[1]]
    assert f"call   0x{assembled[0].by_name['other']:x} <other>" in texts
    assert any(re.fullmatch(r"mov    0x\w+\(%rip\),%rax +# 0x42000000 <slot>", text) for text in texts)
    assert "movl   $0xffffffff,0x8(%rsp)" in texts
    assert "movabs $0x1122334455667788,%rcx" in texts


def test_a_jump_back_from_the_cold_part_is_no_tail_call(assembled: tuple[Symbols, list[Instruction]]) -> None:
    symbols = assembled[0]
    cold = symbols.by_name["f.cold"]
    target = symbols.by_name["f"] + 4
    code = b"\xe9" + (target - cold - 5).to_bytes(4, "little", signed=True)
    (jump,) = disassemble(code, cold, symbols)
    assert (jump.flow, jump.target, jump.call) == (Flow.JUMP, target, None)


def test_without_names_addresses_are_shown() -> None:
    (call,) = disassemble(b"\xe8\x00\x00\x00\x00", 0x1000, lambda address: None)
    assert (call.symbol, call.offset, call.call, call.text) == ("0x1000", 0, "0x1005", "call   0x1005")


def test_random_bytes_never_fail() -> None:
    random_bytes = random.Random(3)
    for _ in range(300):
        code = random_bytes.randbytes(random_bytes.randrange(0, 200))
        instructions = disassemble(code, 0xFFFFFFFF81000000, lambda address: None)
        assert b"".join(each.code for each in instructions) == code
