"""The bytes an event and a note consist of, as the kernel side writes them and a trace keeps them.

Events are rows of one fixed size in a trace, so that a block of them is a numpy array. What changes less
often (struct sk_buff, header bytes, a packet's birth and end) travels in notes, and an event names the
state that was in force by its id. All numbers are little-endian.
"""

from __future__ import annotations

import enum
from typing import Any, Final

import numpy as np

from ktcpdump_tui import arch

#: Bytes of a task's name (include/linux/sched.h: TASK_COMM_LEN).
COMM_BYTES: Final = 16


def event_dtype(stack_bytes: int) -> np.dtype[Any]:
    """Return the layout of one event row whose stack window holds ``stack_bytes`` bytes (a multiple of 8).

    ``ts``: ns, CLOCK_BOOTTIME. ``seq``: counts every event tried on that CPU from 1, so a gap is a loss.
    ``state``: id of the state note in force, 0 if it was lost. ``insn``: index in the plan. ``stack``: the
    bytes from rsp upwards.
    """
    return np.dtype(
        [
            ("ts", "<u8"),
            ("seq", "<u8"),
            ("state", "<u8"),
            ("skb", "<u8"),
            ("cfa", "<u8"),
            ("insn", "<u4"),
            ("packet", "<u4"),
            ("pid", "<u4"),
            ("cpu", "<u2"),
            ("found_by", "u1"),
            ("flags", "u1"),
            ("comm", f"S{COMM_BYTES}"),
            ("regs", "<u8", (len(arch.REGISTERS),)),
            ("stack", "u1", (stack_bytes,)),
        ]
    )


class EventFlag(enum.IntFlag):
    """Bits of an event's ``flags``."""

    STACK_UNREADABLE = 1
    STATE_LOST = 2


#: Values of an event's ``found_by``, in the order of model.FoundBy.
FOUND_BY: Final = ("argument", "frame", "caller")


class NoteKind(enum.IntEnum):
    """What a note tells."""

    STATE = 1
    BIRTH = 2
    FREE = 3


#: Every note begins with this; ``size`` is the whole note's in bytes, a multiple of 8.
NOTE_HEADER: Final = np.dtype(
    [("kind", "<u4"), ("size", "<u4"), ("ts", "<u8"), ("packet", "<u4"), ("cpu", "<u2"), ("flags", "<u2")]
)

#: Regions a state note has room for.
MAX_REGIONS: Final = 8

#: One captured range: ``size`` bytes of kernel memory at ``address``, found ``offset`` bytes into the note.
REGION: Final = np.dtype([("address", "<u8"), ("offset", "<u4"), ("size", "<u2"), ("label", "<u2")])

#: STATE: after the header. ``id`` is unique in a trace; ``link`` is 1 where the region labelled PACKET
#: begins with an Ethernet header, 0 where it begins with an IP header; ``netns`` is the inode number
#: ``ip netns``/``lsns`` show. The regions' bytes follow.
STATE_BODY: Final = np.dtype(
    [
        ("id", "<u8"),
        ("skb", "<u8"),
        ("dev", "<u8"),
        ("len", "<u4"),
        ("ifindex", "<u4"),
        ("netns", "<u4"),
        ("mark", "<u4"),
        ("ifname", "S16"),
        ("link", "<u4"),
        ("regions", "<u4"),
        ("region", REGION, (MAX_REGIONS,)),
    ]
)


class RegionLabel(enum.IntEnum):
    """What a captured range is."""

    SKB = 1  # struct sk_buff
    PACKET = 2  # linear bytes from the first header known
    SHARED_INFO = 3  # struct skb_shared_info
    DEVICE = 4  # part of struct net_device
    EXTRA = 5  # --capture


#: BIRTH: ``origin`` indexes ORIGINS; ``parent`` is 0 where there is none.
BIRTH_BODY: Final = np.dtype([("skb", "<u8"), ("parent", "<u4"), ("origin", "<u4")])
ORIGINS: Final = ("seen", "clone", "copy", "segment", "fragment", "reassembly", "merge")

#: FREE: ``location`` is the address that freed it, ``reason`` the number of enum skb_drop_reason,
#: ``how`` indexes FATES; where a packet was merged into another, ``reason`` is that one's id.
FREE_BODY: Final = np.dtype([("skb", "<u8"), ("location", "<u8"), ("reason", "<u4"), ("how", "<u4")])
FATES: Final = ("consumed", "dropped", "merged")
