"""In which blocks an instruction was executed: a bit for each block and each instruction."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.trace.tally import MAX_INSNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui.trace.codec import Array

#: Rows and bytes of a row that are there before they are needed, at least.
_ROWS: Final = 64
_BYTES: Final = 8


class InsnIndex:
    """Maps an instruction to the ascending numbers of the blocks it was executed in.

    Most blocks have most of what was executed at all, so that bits take a hundredth of what pairs do. An
    instruction gets its column when it is first executed: a plan has many that never are. All readers of a
    trace share one, each in its thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._columns: Array = np.zeros(0, "<i4")  # column of each instruction, from 1; 0: not executed yet
        self._executed = 0
        self._bits: Array = np.zeros((0, 0), "u1")
        self._first = 0  # block of the first row
        self._rows = 0

    def add(self, block: int, insns: Array) -> None:
        """Take the ascending instructions of ``block``; blocks come in ascending order."""
        insns = insns[insns < MAX_INSNS]
        with self._lock:
            if not self._rows:
                self._first = block
            self._name(insns)
            row = block - self._first
            self._make_room(row + 1, -(-self._executed // 8))
            self._bits[row] = self._packed(self._columns[insns] - 1)
            self._rows = row + 1

    def forget(self, oldest: int) -> None:
        """Blocks before ``oldest`` are gone."""
        with self._lock:
            gone = oldest - self._first
            if gone >= self._rows:
                self._bits, self._rows = self._bits[:0], 0
            elif gone > max(_ROWS, self._rows // 2):
                self._bits = self._bits[gone : self._rows].copy()
                self._first, self._rows = oldest, self._rows - gone

    def blocks_of_any(self, insns: Iterable[int]) -> Array:
        """Return the ascending numbers of the blocks with any of ``insns`` (i8); forgotten ones too."""
        with self._lock:
            wanted = np.array([insn for insn in insns if insn < len(self._columns)], "<i8")
            columns = self._columns[wanted]
            packed = self._packed(columns[columns > 0] - 1)
            at = np.flatnonzero(packed)
            found = (self._bits[: self._rows, at] & packed[at]).any(axis=1)
            return np.flatnonzero(found) + self._first

    def _packed(self, columns: Array) -> Array:
        """Return a row with these bits."""
        flags = np.zeros(8 * self._bits.shape[1], "?")
        flags[columns] = True
        return np.packbits(flags, bitorder="little")

    def _name(self, insns: Array) -> None:
        """Give a column to the instructions that have none."""
        if len(insns) and int(insns[-1]) >= len(self._columns):
            more = np.zeros(int(insns[-1]) + 1, "<i4")
            more[: len(self._columns)] = self._columns
            self._columns = more
        new = insns[self._columns[insns] == 0]
        self._columns[new] = np.arange(self._executed + 1, self._executed + len(new) + 1)
        self._executed += len(new)

    def _make_room(self, rows: int, width: int) -> None:
        had_rows, had_width = self._bits.shape
        if rows <= had_rows and width <= had_width:
            return
        if rows > had_rows:
            rows = max(rows, had_rows + had_rows // 4, _ROWS)
        if width > had_width:
            width = max(width, had_width + had_width // 4, _BYTES)
        bits = np.zeros((max(rows, had_rows), max(width, had_width)), "u1")
        bits[: self._rows, :had_width] = self._bits[: self._rows]
        self._bits = bits
