"""Synthetic captures: rows and notes as the kernel side would send them. Data for the store, not a kernel."""

from __future__ import annotations

import ctypes
import os
import pickle
import traceback

import numpy as np

from ktcpdump_tui.model import (
    Flow,
    FrameRule,
    InlineFrame,
    Instruction,
    ProbeState,
    SourceLine,
    TraceHeader,
)
from ktcpdump_tui.trace.layout import (
    BIRTH_BODY,
    FREE_BODY,
    NOTE_HEADER,
    ORIGINS,
    STATE_BODY,
    NoteKind,
    RegionLabel,
    event_dtype,
)

STACK = 256


def header(stack_bytes: int = STACK, **changes) -> TraceHeader:
    values = {
        "version": "0.1.0",
        "release": "6.12.1-test",
        "machine": "x86_64",
        "build_id": "ab" * 20,
        "command_line": ("ktcpdump-tui", "-i", "ip_rcv+*"),
        "clock_offset": 1_700_000_000_000_000_000,
        "started": 5,
        "slide": 0x2000000,
        "specs": ("ip_rcv+*",),
        "stack_bytes": stack_bytes,
        "modules": {"veth": {".text": 0xFFFFFFFFC0000000}},
    }
    return TraceHeader(**(values | changes))


def plan(functions: int = 2, length: int = 10) -> list[Instruction]:
    """Functions of ``length`` instructions, two to a source line, the last of each a return."""
    made = []
    for function in range(functions):
        symbol = f"function_{function}"
        for step in range(length):
            made.append(
                Instruction(
                    index=len(made),
                    address=0xFFFFFFFF81000000 + function * 0x1000 + step * 4,
                    symbol=symbol,
                    offset=step * 4,
                    code=b"\x90" * 4,
                    text="nop",
                    flow=Flow.RETURN if step == length - 1 else Flow.NEXT,
                    source=SourceLine(f"net/{symbol}.c", 10 + step // 2, 1, step % 2 == 0),
                    inlined_by=(InlineFrame(symbol, f"net/{symbol}.c", 10 + step // 2),),
                    frame=FrameRule(7, 8),
                    probe=ProbeState.ATTACHED,
                )
            )
    return made


def rows(count: int, stack_bytes: int = STACK, first: int = 0, cpus: int = 1, packets: int = 7) -> np.ndarray:
    """``count`` events without losses; ``first`` is how many were made before."""
    made = np.zeros(count, event_dtype(stack_bytes))
    at = np.arange(first, first + count, dtype="<u8")
    made["ts"] = 1_000_000 + at * 700
    made["cpu"] = at % cpus
    made["seq"] = at // cpus + 1
    made["packet"] = 1 + at // 11 % packets
    made["state"] = made["packet"]
    made["skb"] = 0xFFFF888100000000 + made["packet"].astype("<u8") * 256
    made["cfa"] = 0xFFFFC90000000F00 - (at // 5 % 3) * 64
    made["insn"] = at % 20
    made["pid"] = 4242
    made["found_by"] = at % 3
    made["comm"] = b"ping"
    made["regs"] = at[:, None] * 3 + np.arange(18, dtype="<u8")
    made["regs"][:, 7] = 0xFFFFC90000000E00
    made["stack"] = (at[:, None] // 9 + np.arange(stack_bytes, dtype="<u8")) % 256
    return made


def _note(kind: NoteKind, ts: int, packet: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 8)
    head = np.zeros(1, NOTE_HEADER)
    head["kind"], head["size"], head["ts"], head["packet"] = (
        kind,
        NOTE_HEADER.itemsize + len(body),
        ts,
        packet,
    )
    return head.tobytes() + body


def state(
    number: int, packet: int, data: bytes = b"\x45" * 84, length: int = 84, ts: int = 1, **fields
) -> bytes:
    body = np.zeros(1, STATE_BODY)
    regions = (
        (RegionLabel.SKB, 0xFFFF888100000000, bytes(232)),
        (RegionLabel.PACKET, 0xFFFF888200000000, data),
    )
    offset = NOTE_HEADER.itemsize + STATE_BODY.itemsize
    tail = b""
    for index, (label, address, content) in enumerate(regions):
        body["region"][0, index] = (address, offset + len(tail), len(content), label)
        tail += content
    values = {"id": number, "len": length, "ifindex": 2, "netns": 4026531840, "mark": 7, "ifname": b"eth0"}
    for name, value in (values | {"regions": len(regions)} | fields).items():
        body[name] = value
    return _note(NoteKind.STATE, ts, packet, body.tobytes() + tail)


def birth(
    packet: int, ts: int, skb: int = 0xFFFF888100000000, parent: int = 0, origin: str = "seen"
) -> bytes:
    body = np.array([(skb, parent, ORIGINS.index(origin))], BIRTH_BODY)
    return _note(NoteKind.BIRTH, ts, packet, body.tobytes())


def free(packet: int, ts: int, location: int = 0, reason: int = 0, dropped: bool = False) -> bytes:
    body = np.array([(0xFFFF888100000000, location, reason, int(dropped))], FREE_BODY)
    return _note(NoteKind.FREE, ts, packet, body.tobytes())


def fork(what) -> int:
    """Run ``what`` in a child process; return its process id."""
    child = os.fork()
    if child == 0:
        try:
            what()
        finally:
            os._exit(0)
    return child


#: unshare(2), mount(2): CLONE_NEWNS, CLONE_NEWUSER; MS_REC | MS_PRIVATE.
_NEWNS, _NEWUSER, _PRIVATE = 0x20000, 0x10000000, 0x4000 | 0x40000


def on_small_disk(folder, size: int, what):
    """Run ``what`` in a child with a file system of ``size`` bytes at ``folder``; return what it returns."""
    read, write = os.pipe()

    def inside() -> None:
        try:
            _mount(folder, size)
            answer = what(), None
        except BaseException:
            answer = None, traceback.format_exc()
        with os.fdopen(write, "wb") as pipe:
            pickle.dump(answer, pipe)

    child = fork(inside)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        value, error = pickle.load(pipe)
    os.waitpid(child, 0)
    assert error is None, error
    return value


def _mount(folder, size: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    ordinary, user, group = os.geteuid() != 0, os.geteuid(), os.getegid()

    def check(status: int) -> None:
        if status:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))

    check(libc.unshare(_NEWNS | (_NEWUSER if ordinary else 0)))
    if ordinary:
        for name, line in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)
    check(libc.mount(None, b"/", None, ctypes.c_ulong(_PRIVATE), None))
    options = f"size={size}".encode()
    check(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), options))
