"""The plan of a trace: read once for all readers, and again where probes were added or removed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ktcpdump_tui.trace import codec, records
from ktcpdump_tui.trace.tally import MAX_INSNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.database import Database


class Plans:
    """Keeps the plan read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version: object = None
        self._plan: Sequence[Instruction] = []

    def read(self, version: object, database: Database) -> Sequence[Instruction]:
        """Return the plan, of this version or a later one; ValueError or TypeError where it is damaged."""
        with self._lock:
            if version != self._version:
                row = database.one("SELECT data FROM plan")
                plan = records.plan_from_json(codec.decompress(row[0])) if row else []
                if len(plan) > MAX_INSNS:
                    raise ValueError(f"a plan of {len(plan)} instructions")
                self._plan, self._version = plan, version
            return self._plan
