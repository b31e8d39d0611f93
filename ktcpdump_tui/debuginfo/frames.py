"""How to find the frame (CFA) at each instruction, from whichever tables there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.debuginfo.image import DebugImage
    from ktcpdump_tui.debuginfo.orc import OrcTable
    from ktcpdump_tui.model import FrameRule


def frame_rules(
    addresses: Sequence[int], image: DebugImage | None, orc: OrcTable | None = None
) -> list[FrameRule | None]:
    """Return the rule for the CFA at each address, None where neither ORC nor .debug_frame knows it.

    ``orc`` (else the image's own table) comes first: it is what the kernel itself unwinds by and needs no
    decoding. Its addresses must be of the same kind as the image's. Raises UserError on a damaged image.
    """
    table = orc if orc is not None else (image.orc if image else None)
    rules: list[FrameRule | None] = [None] * len(addresses)
    if table is not None:
        rules = table.rules(addresses)
    missing = [index for index, rule in enumerate(rules) if rule is None]
    if image and missing:
        found = image.frame_rules([addresses[index] for index in missing])
        for index, rule in zip(missing, found, strict=True):
            rules[index] = rule
    return rules
