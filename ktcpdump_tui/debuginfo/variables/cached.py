"""A table's bytes from the disk cache, where the same plan was asked for before."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo.variables.build import POINTERS, build_table
from ktcpdump_tui.debuginfo.variables.table import VERSION, with_slide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.debuginfo.cache import DiskCache
    from ktcpdump_tui.debuginfo.image import DebugImage


def table_bytes(
    image: DebugImage, addresses: Sequence[int], slide: int = 0, cache: DiskCache | None = None
) -> bytes:
    """Return ``build_table(image, addresses, slide).to_bytes()``, from ``cache`` where it is there.

    A module's addresses change with every load, so that its tables are not kept.
    """
    if cache is None or image.build_id is None or image.relocatable:
        return build_table(image, addresses, slide).to_bytes()
    asked = ",".join(f"{address:x}" for address in sorted(set(addresses)))
    name = f"variables-{VERSION}-{POINTERS}-{hashlib.sha256(asked.encode()).hexdigest()[:24]}"
    data = cache.get(image.build_id, name)
    if data is not None:
        return with_slide(data, slide)
    data = build_table(image, addresses, slide).to_bytes()
    cache.put(image.build_id, name, data)
    return data
