"""From a recorded row to an Event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.model import Event, FoundBy, Memory, Region
from ktcpdump_tui.trace import codec
from ktcpdump_tui.trace.layout import FOUND_BY, EventFlag, event_dtype

if TYPE_CHECKING:
    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.notes import PacketState

_FOUND_BY: Final = [FoundBy(name) for name in FOUND_BY]
_REGS_AT: Final[int] = event_dtype(0).fields["regs"][1] - codec.HEAD.itemsize  # type: ignore[index]
_REGS: Final = event_dtype(0)["regs"].shape[0]
_RSP: Final = 7


def make_event(
    no: int,
    head: Any,
    body: bytes,
    stack_bytes: int,
    state: PacketState | None,
    instruction: Instruction,
    lost: int,
) -> Event:
    """Return event ``no`` of a row's ``head`` (codec.HEAD) and ``body``: registers and the stack window.

    ``state`` is the packet's, None where it was lost; ``lost`` events are missing before this one.
    """
    ts, _seq, _state, skb, cfa, _insn, packet, pid, cpu, found_by, flags, comm = head.item()
    regs = tuple(np.frombuffer(body, "<u8", _REGS, _REGS_AT).tolist())
    regions: tuple[Region, ...] = state.regions if state else ()
    if stack_bytes and not flags & EventFlag.STACK_UNREADABLE:
        stack_at = _REGS_AT + _REGS * 8
        regions = (Region(regs[_RSP], body[stack_at : stack_at + stack_bytes], "stack"), *regions)
    return Event(
        no=no,
        ts=ts,
        cpu=cpu,
        pid=pid,
        comm=comm.decode("utf-8", "replace"),
        instruction=instruction,
        packet_id=packet,
        skb=skb,
        len=state.len if state else None,
        dev=(state.dev or None) if state else None,
        netns=(state.netns or None) if state else None,
        found_by=_FOUND_BY[found_by] if found_by < len(_FOUND_BY) else FoundBy.FRAME,
        lost_before=lost,
        cfa=cfa or None,
        regs=regs,
        packet=state.packet if state else b"",
        link=state.link if state else "ethernet",
        ifindex=(state.ifindex or None) if state else None,
        mark=state.mark if state else None,
        memory=Memory(regions),
    )
