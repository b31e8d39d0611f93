"""How to find the frame (CFA) at each instruction, from whichever tables there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo.errors import reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.debuginfo.image import DebugImage
    from ktcpdump_tui.debuginfo.orc import OrcTable
    from ktcpdump_tui.model import FrameRule


def frame_rules(
    addresses: Sequence[int], image: DebugImage | None, orc: OrcTable | None = None
) -> list[FrameRule | None]:
    """Return the rule for the CFA at each address, None where neither ORC nor .debug_frame knows it.

    ``orc`` (else the image's own table) is used where there is one: it is what the kernel itself unwinds by
    and needs no decoding. Its addresses must be of the same kind as the image's. .debug_frame serves where
    there is none (CONFIG_UNWINDER_FRAME_POINTER). Raises UserError on a damaged image.
    """
    table = orc if orc is not None else (image.orc if image else None)
    if table is not None:
        return table.rules(addresses)
    return image.frame_rules(addresses) if image else [None] * len(addresses)


def frame_rows(image: DebugImage, low: int, high: int) -> list[tuple[int, FrameRule | None]]:
    """Return (first address, rule) of each stretch of [low, high) that shares a rule, by address."""
    with reading(image.path, ".orc_unwind or .debug_frame"):
        inside = image.orc.starts(low, high) if image.orc is not None else image.cfi.starts(low, high)
    starts = [low, *inside]
    rows: list[tuple[int, FrameRule | None]] = []
    for start, rule in zip(starts, frame_rules(starts, image), strict=True):
        if not rows or rows[-1][1] != rule:
            rows.append((start, rule))
    return rows
