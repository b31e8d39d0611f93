"""Which events were lost, told from the gaps in each CPU's sequence numbers.

The kernel side numbers every event it tries to send, per CPU, from 1. An interrupt between numbering and
sending lets a later number arrive first (5, 7, 6, 8), so a gap is final only when its numbers can no longer
come: a late event closes its gap again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.arrays import distinct

if TYPE_CHECKING:
    from ktcpdump_tui.trace.codec import Array

#: A place where events are missing: ``lost`` events of ``cpu`` before event ``no``, which happened at ``ts``;
#: the event before the gap on that CPU happened at ``since`` (0: none was seen before).
LOSS: Final[np.dtype[Any]] = np.dtype(
    [("no", "<u8"), ("ts", "<u8"), ("since", "<u8"), ("lost", "<u4"), ("cpu", "<u4")]
)

#: Gaps per CPU that a late event can still close; interrupts nest a few levels deep.
_OPEN_GAPS: Final = 32


@dataclass(slots=True)
class _Gap:
    low: int  # first and last missing sequence number
    high: int
    no: int  # the event that follows the gap
    since: int


@dataclass(slots=True)
class _Cpu:
    highest: int = 0
    last_ts: int = 0
    gaps: deque[_Gap] = field(default_factory=lambda: deque(maxlen=_OPEN_GAPS))


class LossCounter:
    """Finds gaps in a stream of events, keeping what it needs to know between calls."""

    def __init__(self) -> None:
        self._cpus: dict[int, _Cpu] = {}

    def feed(self, rows: Array, first_no: int) -> tuple[Array, dict[int, int]]:
        """Take the next rows (``cpu``, ``seq``, ``ts``), whose first is event ``first_no``.

        Returns the new losses as rows of ``LOSS``, ordered by ``no``, and corrections of earlier ones:
        event number -> events lost before it.
        """
        found: list[tuple[int, int, int, int, int]] = []
        fixes: dict[int, int] = {}
        seqs, cpus, times = rows["seq"], rows["cpu"], rows["ts"]
        for cpu in distinct(cpus).tolist():
            at = np.flatnonzero(cpus == cpu)
            state = self._cpus.setdefault(cpu, _Cpu())
            seq = seqs[at]
            if not bool(np.all(seq[1:] > seq[:-1])):
                order = np.argsort(seq, kind="stable")
                at, seq = at[order], seq[order]
            late = int(np.searchsorted(seq, state.highest, side="right"))
            for position in range(late):
                index = int(at[position])
                self._close(state, int(seq[position]), first_no + index, int(times[index]), cpu, found, fixes)
            at, seq = at[late:], seq[late:]
            if not len(at):
                continue
            before = np.concatenate((np.array([state.highest], "<u8"), seq[:-1]))
            for gap in np.flatnonzero(seq > before + 1).tolist():
                index = int(at[gap])
                low, high = int(before[gap]) + 1, int(seq[gap]) - 1
                since = int(times[at[gap - 1]]) if gap else state.last_ts
                found.append((first_no + index, int(times[index]), since, _u32(high - low + 1), cpu))
                state.gaps.append(_Gap(low, high, first_no + index, since))
            state.highest, state.last_ts = int(seq[-1]), int(times[at[-1]])
        losses = np.array(found, LOSS)
        return np.sort(losses, order="no"), fixes

    @staticmethod
    def _close(
        state: _Cpu,
        seq: int,
        no: int,
        ts: int,
        cpu: int,
        found: list[tuple[int, int, int, int, int]],
        fixes: dict[int, int],
    ) -> None:
        for gap in reversed(state.gaps):
            if gap.low <= seq <= gap.high:
                fixes[gap.no] = _u32(gap.high - seq)
                if seq > gap.low:
                    found.append((no, ts, gap.since, _u32(seq - gap.low), cpu))
                    state.gaps.append(_Gap(gap.low, seq - 1, no, gap.since))
                gap.low = seq + 1
                return


def apply_fixes(losses: Array, fixes: dict[int, int]) -> Array:
    """Return ``losses`` with the corrections in force; those corrected to nothing are gone."""
    if not fixes or not len(losses):
        return losses
    at = np.searchsorted(losses["no"], np.fromiter(fixes, "<u8", len(fixes)))
    corrected = losses.copy()
    for position, (no, lost) in zip(at.tolist(), fixes.items(), strict=True):
        if position < len(losses) and corrected["no"][position] == no:
            corrected["lost"][position] = lost
    return corrected[corrected["lost"] > 0]


def unpack_losses(data: bytes) -> Array:
    """Return the stored rows of ``LOSS``; ValueError where they are damaged."""
    if len(data) % LOSS.itemsize:
        raise ValueError("a block's losses are cut off")
    return np.frombuffer(data, LOSS)


def _u32(number: int) -> int:
    return min(number, 0xFFFFFFFF)
