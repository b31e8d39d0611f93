"""More memory with each event: what --capture asks for, as C for the BPF program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.debuginfo.expressions import CapturePath

#: Regions that --capture may add to an event's state, and their bytes together: what the state note has
#: room for beside sk_buff, device name, packet and shared info (trace/layout.py: MAX_REGIONS).
MOST_REGIONS: Final = 4
MOST_BYTES: Final = 1024


def capture_code(paths: Sequence[CapturePath]) -> tuple[str, int]:
    """Return (C text, bytes of room) that reads each path's memory into ``state->extra`` (bpf/trace.c).

    Raises UsageError where more is asked for than an event has room for.
    """
    wanted = list(dict.fromkeys((*(p for path in paths for p in path.pointers), *paths)))
    total = sum(_padded(path.size) for path in wanted)
    if len(wanted) > MOST_REGIONS or total > MOST_BYTES:
        raise UsageError(
            f"--capture asks for {len(wanted)} pieces of memory of {total} bytes; an event has room for "
            f"{MOST_REGIONS} of {MOST_BYTES} bytes",
            "name single members instead of whole structures",
        )
    text: list[str] = []
    at = 0
    for path in wanted:
        *pointers, last = path.steps
        steps = "".join(f"if (p) p = read_pointer(p + {offset}); " for offset in pointers)
        where = f"offsetof(struct state, extra) + {at}"
        text.append(
            f"{{ u64 p = skb; {steps}"
            f"if (p && !bpf_probe_read_kernel(state->extra + {at}, {path.size}, (void *)(p + {last}))) "
            f"add_region(state, p + {last}, {where}, {path.size}, LABEL_EXTRA); }}"
        )
        at += _padded(path.size)
    return " ".join(text), max(at, 8)


def _padded(size: int) -> int:
    return (size + 7) & ~7
