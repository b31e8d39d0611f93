"""Where the next packet starts, told from the blocks around an event: no table has them in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ktcpdump_tui.trace.blocks import EventBlocks
    from ktcpdump_tui.trace.packets import PacketTable

#: Blocks that are looked at one by one; where no packet starts for so long, the whole table is.
_NEAR: Final = 16


def packet_start(events: EventBlocks, packets: PacketTable, no: int, reverse: bool) -> int | None:
    """Return the first event of the packet that starts next after event ``no`` (``reverse``: before)."""
    edge = min(no - 1, events.last_no) if reverse else max(no + 1, events.first_no)
    if not events.first_no <= edge <= events.last_no:
        return None
    position = events.position(edge)
    for _ in range(_NEAR):
        block = events.blocks[position]
        low, high = block.first_no, block.end_no - 1
        low, high = (low, min(high, edge)) if reverse else (max(low, edge), high)
        found = packets.first_start(block.packets, low, high, reverse)
        if found is not None:
            return found
        position += -1 if reverse else 1
        if not 0 <= position < len(events.blocks):
            return None
    found = packets.nearest("first_no", no, reverse)
    return found if found is not None and found >= events.first_no else None
