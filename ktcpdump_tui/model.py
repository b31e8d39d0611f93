"""Plain records shared by all packages. This module imports nothing of ours but ``arch`` and ``errors``."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ktcpdump_tui import arch

if TYPE_CHECKING:
    from collections.abc import Iterator


class Flow(enum.StrEnum):
    """What an instruction does to the flow of control."""

    NEXT = "next"
    CALL = "call"
    JUMP = "jump"
    BRANCH = "branch"
    RETURN = "return"
    TRAP = "trap"


class ProbeState(enum.StrEnum):
    """Whether an instruction of the plan is watched."""

    ATTACHED = "attached"
    REFUSED = "refused"  # asked for, and the kernel said no
    LEFT_OUT = "left out"  # never asked for: padding, endbr64, not in SPEC


class FoundBy(enum.StrEnum):
    """How an event's packet was found (DESIGN: which packet is this instruction working on?)."""

    ARGUMENT = "argument"
    FRAME = "frame"
    CALLER = "caller"


class LineState(enum.StrEnum):
    """The four states of a source line, never mixed up."""

    EXECUTED = "executed"
    NOT_EXECUTED = "not executed"  # probed, and no packet came by
    NOT_PROBED = "not probed"  # no instruction of the line has a probe
    UNKNOWN = "unknown"  # probed and not seen, but events were lost


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A row of a line table (DWARF 5 section 6.2.2). ``line`` 0 means the compiler names no line."""

    file: str
    line: int
    column: int = 0
    is_stmt: bool = True


@dataclass(frozen=True, slots=True)
class InlineFrame:
    """One level of an inline chain: a function, and the position in it that is being executed."""

    function: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class FrameRule:
    """CFA = register + offset, or the value stored there where ``indirect`` (DWARF 5 section 6.4.1, ORC).

    ``register`` is a DWARF number, ``offset`` in bytes.
    """

    register: int
    offset: int
    indirect: bool = False


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of the plan: worked out once, before a packet moves.

    ``address`` is the running kernel's, ``symbol``/``offset`` name it (offset in bytes from the start of
    the symbol), ``module`` is None for the kernel itself. ``code`` is the instruction's bytes, ``text`` its
    disassembly. ``target`` is the address a direct call or jump goes to, ``call`` the name shown after
    ``// CALL`` (``*rax`` style where it is only known at run time). ``inlined_by`` goes from the innermost
    function to the real one, which is last; empty without debug symbols.
    """

    index: int
    address: int
    symbol: str
    offset: int
    module: str | None = None
    code: bytes = b""
    text: str = ""
    flow: Flow = Flow.NEXT
    target: int | None = None
    call: str | None = None
    source: SourceLine | None = None
    inlined_by: tuple[InlineFrame, ...] = ()
    frame: FrameRule | None = None
    probe: ProbeState = ProbeState.ATTACHED
    refusal: str | None = None

    @property
    def ksym(self) -> str:
        """``symbol+offset``, offset in decimal, as in the table."""
        return f"{self.symbol}+{self.offset}"

    @property
    def addr2line(self) -> str:
        """``file:line``, or ``??:0`` as addr2line says it."""
        return f"{self.source.file}:{self.source.line}" if self.source else "??:0"


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes of kernel memory as they were at an event."""

    address: int
    data: bytes
    label: str = ""

    @property
    def end(self) -> int:
        """First address after the region."""
        return self.address + len(self.data)


@dataclass(frozen=True, slots=True)
class Memory:
    """The parts of kernel memory that were captured with an event."""

    regions: tuple[Region, ...] = ()

    def read(self, address: int, size: int) -> bytes | None:
        """Return ``size`` bytes at ``address``, or None where they were not all captured."""
        for region in self.regions:
            start = address - region.address
            if start >= 0 and start + size <= len(region.data):
                return region.data[start : start + size]
        return None

    def __iter__(self) -> Iterator[Region]:
        return iter(self.regions)


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet's identity. ``id`` counts from 1; skb addresses are reused, ids are not.

    ``parent`` is the id of the packet it was cloned, copied or segmented from, ``origin`` says which
    (``seen``, ``clone``, ``copy``, ``segment``, ``fragment`` ...). ``freed_at`` is ns or None,
    ``fate`` is ``consumed``, ``dropped`` or ``merged`` (into packet ``merged_into``), ``drop_reason`` the
    enum's name from BTF, ``drop_location`` the address that dropped it and ``drop_line`` its source line.
    """

    id: int
    skb: int
    first_seen: int
    parent: int | None = None
    origin: str = "seen"
    freed_at: int | None = None
    fate: str | None = None
    drop_reason: str | None = None
    drop_location: int | None = None
    drop_symbol: str | None = None
    drop_line: str | None = None
    merged_into: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One executed instruction of a selected packet.

    ``no`` counts from 1; ``ts`` is ns of CLOCK_BOOTTIME; ``cfa`` the frame's address; ``regs`` follows
    ``arch.REGISTERS``; ``packet`` is the packet from its link-layer header where ``link`` is ``ethernet``,
    from its network header where it is ``raw``, at most snaplen bytes; ``len`` is skb->len in bytes;
    ``lost_before`` counts the events lost since the previous one on that CPU. ``memory`` holds the stack
    window, struct sk_buff, the header bytes and whatever else was captured.
    """

    no: int
    ts: int
    cpu: int
    pid: int
    comm: str
    instruction: Instruction
    packet_id: int
    skb: int
    len: int | None
    dev: str | None
    netns: int | None
    found_by: FoundBy
    lost_before: int = 0
    cfa: int | None = None
    regs: tuple[int, ...] = ()
    packet: bytes = b""
    link: str = "ethernet"
    ifindex: int | None = None
    mark: int | None = None
    memory: Memory = field(default_factory=Memory)

    def register(self, name: str) -> int:
        """Return the register called ``name`` in ``arch.REGISTERS``."""
        return self.regs[arch.REGISTERS.index(name)]


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """What a trace says of itself, before its first event.

    ``clock_offset`` is CLOCK_REALTIME - CLOCK_BOOTTIME in ns at the start; ``slide`` the running kernel's
    KASLR slide in bytes (run-time address - link-time address); ``stack_bytes`` the size of each event's
    stack window; ``stack_size`` that of a kernel stack; ``modules`` the load address of each module's
    sections: {module: {section: address}}.
    """

    version: str
    release: str
    machine: str
    build_id: str | None
    command_line: tuple[str, ...]
    clock_offset: int
    started: int
    slide: int
    expression: str = ""
    specs: tuple[str, ...] = ()
    snaplen: int = 256
    stack_bytes: int = 256
    debug_image: str | None = None
    hostname: str = ""
    modules: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """The counts a capture ends with. ``lost`` is by cause: ring buffer full, missed probes, ...

    ``packets`` are those that were selected, ``derived`` those made from them: clones, copies, segments,
    fragments, reassembled datagrams. ``truncated`` counts events by what of theirs is incomplete: ``packet``
    (more than snaplen, or not in linear memory), ``stack`` (the frame is larger than the stack window).
    """

    events: int
    packets: int
    probes_asked: int
    probes_attached: int
    probes_refused: int
    lost: dict[str, int] = field(default_factory=dict)
    ended_by: str = ""
    derived: int = 0
    truncated: dict[str, int] = field(default_factory=dict)
