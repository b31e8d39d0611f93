"""The events of a trace behind one of them, or before it; blocks that have none wanted are not unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktcpdump_tui.trace.blocks import EventBlocks
    from ktcpdump_tui.trace.codec import Array


def chunks(
    events: EventBlocks,
    no: int,
    reverse: bool,
    packet: int | None,
    cpu: int | None,
    insns: Sequence[int] | None,
) -> Iterator[tuple[Array, Array]]:
    """Yield what ``Trace.chunks`` tells of."""
    positions: Array | None = None if packet is None else events.with_packet(packet)
    if insns is not None:
        with_insns = events.with_insns(insns)
        positions = with_insns if positions is None else np.intersect1d(positions, with_insns)
    blocks = events.blocks
    if reverse:
        last = min(no - 1, events.last_no)
        start = events.position(last) if last >= events.first_no else -1
        order = range(start, -1, -1) if positions is None else positions[positions <= start][::-1].tolist()
    else:
        first = max(no + 1, events.first_no)
        start = events.position(first) if first <= events.last_no else len(blocks)
        order = range(start, len(blocks)) if positions is None else positions[positions >= start].tolist()
    for position in order:
        heads = events.heads(position)
        first_no = blocks[position].first_no
        edge = min(max(no - first_no, 0), len(heads))
        if packet is None and cpu is None and insns is None:
            low, high = (0, edge) if reverse else (edge + (no >= first_no), len(heads))
            if low < high:
                yield np.arange(first_no + low, first_no + high), heads[low:high]
            continue
        wanted = np.ones(len(heads), "?")
        if packet is not None:
            wanted &= heads["packet"] == packet
        if cpu is not None:
            wanted &= heads["cpu"] == cpu
        if insns is not None:
            wanted &= np.isin(heads["insn"], insns)
        if reverse:
            wanted[edge:] = False
        elif no >= first_no:
            wanted[: edge + 1] = False
        at = np.flatnonzero(wanted)
        if len(at):
            yield at + first_no, heads[at]
