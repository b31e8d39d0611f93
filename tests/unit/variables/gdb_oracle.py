"""Runs inside gdb: steps through a program and writes all that gdb knows at every instruction.

Environment: ORACLE_OUT (JSON lines), ORACLE_MEMORY ("address:size,..." link-time addresses) and
ORACLE_MAIN (link-time address of main).
"""

import json
import os
import re

import gdb

NAMES = "rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip eflags"
REGISTERS = NAMES.split()
MASK = (1 << 64) - 1


def number(value):
    return int(value) & MASK


def render(value, depth=0):
    """Return a value as numbers: dicts for structures, lists for arrays, text where there is none."""
    try:
        kind = value.type.strip_typedefs().unqualified()
        if kind.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
            return [[field.name or "", render(value[field], depth + 1)] for field in kind.fields()]
        if kind.code == gdb.TYPE_CODE_ARRAY:
            low, high = kind.range()
            return {"array": [render(value[index], depth + 1) for index in range(low, min(high, 63) + 1)]}
        if value.is_optimized_out:
            return "<optimised out>"
        if kind.code == gdb.TYPE_CODE_FLT:
            return {"float": float(value).hex()}
        if kind.code == gdb.TYPE_CODE_PTR:
            shown = value.format_string(symbols=False)
            if "synthetic pointer" in shown:
                return {"synthetic": render(value.dereference(), depth + 1)}
            return int(value)
        return int(value)
    except gdb.MemoryError:
        return "<not captured>"
    except gdb.error as error:
        text = str(error)
        if "optimized out" in text:
            return "<optimised out>"
        if "synthetic pointer" in text:
            return {"synthetic": render(value.dereference(), depth + 1)}
        return f"<error {text}>"


def variables(frame):
    found = []
    try:
        block = frame.block()
    except RuntimeError:
        return found
    while block is not None:
        owner = block
        while owner.function is None:
            owner = owner.superblock
        for symbol in block:
            if symbol.is_variable or symbol.is_argument or symbol.is_constant:
                try:
                    shown = render(symbol.value(frame))
                except gdb.error as error:
                    text = str(error)
                    shown = "<optimised out>" if "optimized out" in text else f"<error {text}>"
                found.append([symbol.name, owner.function.name, bool(symbol.is_argument), shown])
        if block.function is not None and not is_inlined(block):
            return found
        block = block.superblock
    return found


def is_inlined(block):
    """A function's own block is directly below its file's static block."""
    return not block.superblock.is_static


def frame_address():
    text = gdb.execute("info frame", to_string=True)
    return int(re.search(r"frame at (0x[0-9a-f]+)", text).group(1), 16)


def main():
    for command in ("set pagination off", "set confirm off", "set width 0", "set print repeats 0"):
        gdb.execute(command)
    gdb.execute("set debuginfod enabled off")
    gdb.execute("set max-value-size unlimited")
    gdb.execute("break *main")
    gdb.execute("run", to_string=True)
    inferior = gdb.selected_inferior()
    link = int(os.environ["ORACLE_MAIN"])
    slide = number(gdb.parse_and_eval("$pc")) - link
    ranges = [tuple(int(part) for part in one.split(":")) for one in os.environ["ORACLE_MEMORY"].split(",")]
    with open(os.environ["ORACLE_OUT"], "w") as out:
        out.write(json.dumps({"slide": slide}) + "\n")
        for _ in range(5000):
            frame = gdb.newest_frame()
            real = frame
            while real.type() == gdb.INLINE_FRAME:
                real = real.older()
            if gdb.solib_name(frame.pc()) is not None:  # main has returned
                break
            registers = [number(frame.read_register(one)) for one in REGISTERS]
            stack = registers[7] - 256
            memory = [[stack, bytes(inferior.read_memory(stack, 2304)).hex()]]
            for start, size in ranges:
                memory.append([slide + start, bytes(inferior.read_memory(slide + start, size)).hex()])
            stop = {
                "pc": registers[16],
                "regs": registers,
                "cfa": frame_address(),
                "memory": memory,
                "function": real.name(),
                "variables": variables(frame),
            }
            out.write(json.dumps(stop) + "\n")
            gdb.execute("stepi", to_string=True)
    gdb.execute("kill", to_string=True)


main()
