"""A small trace whose every event, line and loss is known, and the source its lines are in.

Two functions: ``ip_demo_rcv`` calls ``ip_demo_core``, into which ``demo_headlen`` (of a header) is inlined.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from ktcpdump_tui import arch
from ktcpdump_tui.model import Flow, InlineFrame, Instruction, ProbeState, SourceLine, Summary, TraceHeader
from ktcpdump_tui.trace import layout
from ktcpdump_tui.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ktcpdump_tui.trace.refuge import Refuge

C_FILE = "net/ipv4/ip_demo.c"
H_FILE = "include/linux/demo.h"

SOURCE = """\
// SPDX-License-Identifier: GPL-2.0
#include <linux/demo.h>

/* The part that looks at the header. */
static int ip_demo_core(struct sk_buff *skb)
{
\tu32 len = demo_headlen(skb);

\tif (len < 20)
\t\tgoto drop;
\tskb->len = len;
\treturn 0;
drop:
\tkfree_skb(skb);
\treturn -EINVAL;
}

int ip_demo_rcv(struct sk_buff *skb)
{
\tint ret = ip_demo_core(skb);

\tif (ret)
\t\treturn ret;
\treturn ip_demo_finish(skb);
}
"""

HEADER = """\
static inline u32 demo_headlen(const struct sk_buff *skb)
{
\treturn skb->len - skb->data_len;
}
"""

RCV, CORE = 0xFFFFFFFF81000000, 0xFFFFFFFF81001000
START = {"ip_demo_rcv": RCV, "ip_demo_core": CORE}
STACK_BYTES = 64

#: symbol, offset, line (negative: of the header), text, flow, probe.
_PLAN = (
    ("ip_demo_rcv", 0, 19, "nopl 0x0(%rax,%rax,1)", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_rcv", 5, 20, "mov %rdi,%rbx", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_rcv", 8, 20, f"call {CORE:#x} <ip_demo_core>", Flow.CALL, ProbeState.ATTACHED),
    ("ip_demo_rcv", 13, 22, "test %eax,%eax", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_rcv", 15, 22, "jne +34", Flow.BRANCH, ProbeState.ATTACHED),
    ("ip_demo_rcv", 17, 24, "call <ip_demo_finish>", Flow.CALL, ProbeState.ATTACHED),
    ("ip_demo_rcv", 22, 25, "pop %rbx", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_rcv", 23, 25, "ret", Flow.RETURN, ProbeState.ATTACHED),
    ("ip_demo_rcv", 34, 23, "ud2", Flow.TRAP, ProbeState.REFUSED),
    ("ip_demo_core", 0, 6, "nopl 0x0(%rax,%rax,1)", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_core", 5, -3, "mov 0x70(%rdi),%eax", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_core", 8, -3, "sub 0x74(%rdi),%eax", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_core", 11, 9, "cmp $0x14,%eax", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_core", 14, 9, "jb +28", Flow.BRANCH, ProbeState.ATTACHED),
    ("ip_demo_core", 16, 11, "mov %eax,0x70(%rdi)", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_core", 19, 12, "xor %eax,%eax", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_core", 21, 16, "pop %rbp", Flow.NEXT, ProbeState.ATTACHED),
    ("ip_demo_core", 22, 16, "ret", Flow.RETURN, ProbeState.ATTACHED),
    ("ip_demo_core", 28, 14, "call <kfree_skb>", Flow.CALL, ProbeState.ATTACHED),
)

#: What each packet executes: indices of the plan, in order.
PATH = (0, 1, 2, 9, 10, 11, 12, 13, 14, 15, 16, 17, 3, 4, 5, 6, 7)
PER_PACKET = len(PATH)


def plan(*, lines: bool = True) -> list[Instruction]:
    """Return the instructions; without ``lines`` as without debug symbols."""
    result = []
    for index, (symbol, offset, line, text, flow, probe) in enumerate(_PLAN):
        behind = _PLAN[index + 1] if index + 1 < len(_PLAN) else None
        size = behind[1] - offset if behind and behind[0] == symbol else 1
        source, chain = None, ()
        if lines:
            source = SourceLine(H_FILE, -line, 9) if line < 0 else SourceLine(C_FILE, line, 2)
            inner = InlineFrame("demo_headlen", H_FILE, -line)
            outer = InlineFrame(symbol, C_FILE, 7 if line < 0 else line)
            chain = (inner, outer) if line < 0 else (outer,)
        result.append(
            Instruction(
                index, START[symbol] + offset, symbol, offset, None, b"\x90" * size, text, flow,
                CORE if flow is Flow.CALL and index == 2 else None,
                "ip_demo_core" if index == 2 else None, source, chain, None, probe,
                "EINVAL" if probe is ProbeState.REFUSED else None,
            )
        )  # fmt: skip
    return result


def ping(number: int, ttl: int) -> bytes:
    """Return an Ethernet frame with an ICMP echo request."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, number, 0, ttl, 1, 0, b"\n\0\0\1", b"\n\0\0\2")
    return b"\2\0\0\0\0\2" + b"\2\0\0\0\0\1" + b"\x08\0" + ip + struct.pack("!BBHHH", 8, 0, 0, 7, number)


def _note(kind: int, ts: int, packet: int, cpu: int, body: bytes) -> bytes:
    head = np.zeros(1, layout.NOTE_HEADER)
    size = head.itemsize + len(body)
    head["kind"], head["size"], head["ts"], head["packet"], head["cpu"] = (
        kind,
        size + -size % 8,
        ts,
        packet,
        cpu,
    )
    return head.tobytes() + body + bytes(-size % 8)


def skb_of(packet: int) -> int:
    """Return the address of a packet's skb."""
    return 0xFFFF888000000000 + 0x100 * packet


class Capture:
    """Writes a trace packet by packet, as a live capture does."""

    def __init__(
        self,
        path: Path,
        *,
        lines: bool = True,
        comm: bytes = b"ping",
        max_size: int | None = None,
        refuge: Refuge | None = None,
    ) -> None:
        self.writer = TraceWriter(path, max_size, refuge)
        self.writer.write_header(
            TraceHeader(
                "0.1.0", "6.12.0-demo", "x86_64", "ab" * 20, ("ktcpdump-tui", "icmp"),
                1_700_000_000_000_000_000, 1_000_000_000, 0, "icmp",
                ("ip_demo_rcv+*",), stack_bytes=STACK_BYTES,
            )
        )  # fmt: skip
        self.plan = plan(lines=lines)
        self.writer.write_plan(self.plan)
        self.comm = comm
        self.events = self.packets = self.states = 0
        self._seq = [0, 0]
        self._ts = 1_000_000_000

    def lose(self, cpu: int, number: int) -> None:
        """Let the next events of a CPU be missing."""
        self._seq[cpu] += number

    def packet(self, path: Sequence[int] = PATH) -> int:
        """Write a packet that executes ``path``; the TTL is lower from ip_demo_core's end on."""
        self.packets += 1
        number, cpu, skb = self.packets, self.packets % 2, skb_of(self.packets)
        rows = np.zeros(len(path), layout.event_dtype(STACK_BYTES))
        notes = [_note(layout.NoteKind.BIRTH, self._ts, number, cpu, _body(layout.BIRTH_BODY, skb=skb))]
        for row, insn in zip(rows, path, strict=True):
            instruction = self.plan[insn]
            if insn in (path[0], 3):
                self.states += 1
                notes.append(self._state(number, cpu, skb, 64 if insn == path[0] else 63))
            self._ts += 1500
            self._seq[cpu] += 1
            row["ts"], row["seq"], row["state"], row["skb"] = self._ts, self._seq[cpu], self.states, skb
            row["cfa"] = 0xFFFFC90000001000 - (0 if instruction.symbol == "ip_demo_rcv" else 32)
            row["insn"], row["packet"], row["pid"], row["cpu"], row["comm"] = insn, number, 42, cpu, self.comm
            row["found_by"] = 0 if instruction.offset == 0 else 1
            row["regs"] = np.arange(len(arch.REGISTERS))
            row["regs"][5] = skb
            row["regs"][7] = row["cfa"] - 8
            row["regs"][16] = instruction.address
        self._ts += 10_000_000
        free = _body(layout.FREE_BODY, skb=skb, location=CORE + 29, reason=2, how=number % 2)
        notes.append(_note(layout.NoteKind.FREE, self._ts, number, cpu, free))
        self.writer.write_notes(b"".join(notes))
        self.writer.write_events(rows)
        self.writer.flush()
        self.events += len(path)
        return number

    def _state(self, packet: int, cpu: int, skb: int, ttl: int) -> bytes:
        body = np.zeros(1, layout.STATE_BODY)
        data, struct_bytes = ping(packet, ttl), bytes(range(224))
        start = layout.NOTE_HEADER.itemsize + body.itemsize
        body["id"], body["skb"], body["len"], body["ifindex"], body["netns"] = (
            self.states,
            skb,
            42,
            1,
            4026531840,
        )
        body["ifname"], body["link"], body["regions"] = b"demo0", 1, 2
        body["region"][0][0] = (skb, start, len(struct_bytes), layout.RegionLabel.SKB)
        body["region"][0][1] = (skb + 0x1000, start + len(struct_bytes), len(data), layout.RegionLabel.PACKET)
        return _note(layout.NoteKind.STATE, self._ts, packet, cpu, body.tobytes() + struct_bytes + data)

    def close(self, lost: dict[str, int] | None = None, truncated: dict[str, int] | None = None) -> None:
        """Finish the trace."""
        self.writer.close(
            Summary(self.events, self.packets, 19, 18, 1, lost or {}, "packets", truncated=truncated or {})
        )


def _body(kind: np.dtype[np.void], **values: int) -> bytes:
    body = np.zeros(1, kind)
    for name, value in values.items():
        body[name] = value
    return body.tobytes()


def write_sources(folder: Path) -> Path:
    """Write the source tree and return it."""
    for name, text in ((C_FILE, SOURCE), (H_FILE, HEADER)):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
