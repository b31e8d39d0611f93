"""Which source lines ran, how often and when, in lcov's tracefile format (geninfo(1), "FILES").

::

    genhtml --output-directory html trace.info        (in the top folder of the kernel's source)

Records ``SF``, ``FN``/``FNDA``/``FNF``/``FNH``, ``DA``, ``LF``/``LH`` are lcov's. A line counts as often as
the most executed of its instructions. ``DA`` is written for a line that ran and for one that was probed and
did not; a line without a probe is none of lcov's business and is left out, and so is a line that may have run
while events were lost. What lcov has no word for stands in comments, which its tools skip, each in its file's
section before ``end_of_record``:

===========================  =======================================================================
``#TIME:LINE,FIRST,LAST``    when the line ran first and last: seconds since 1970, to the nanosecond
``#NOT_PROBED:LINE``         none of the line's instructions has a probe
``#UNKNOWN:LINE``            probed and not seen, but events were lost
===========================  =======================================================================
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from ktcpdump_tui.model import LineState
from ktcpdump_tui.trace.outfile import FileWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ktcpdump_tui.model import Event, Instruction, Summary
    from ktcpdump_tui.trace.trace import Trace

#: Offsets of a function's first instruction: at its start, or after a 4-byte endbr64 (Intel CET).
_ENTRIES: Final = (0, 4)
#: What may stand in a test's name (geninfo(1): letters, digits and underscores).
_NO_NAME: Final = re.compile(r"\W+")


class CoverageWriter(FileWriter):
    """Counts the events it is given, and writes the file at the end."""

    def __init__(self, stream: BinaryIO, name: str = "the coverage file", close: bool = True) -> None:
        super().__init__(stream, name, close)
        self._trace: Trace | None = None
        #: By index in the plan: hits, first and last time (ns of CLOCK_BOOTTIME).
        self._seen: dict[int, list[int]] = {}

    def begin(self, trace: Trace) -> None:
        """Take the trace whose events come."""
        self._trace = trace

    def events(self, events: Iterable[Event]) -> None:
        """Count events."""
        for event in events:
            seen = self._seen.setdefault(event.instruction.index, [0, event.ts, event.ts])
            seen[0] += 1
            seen[1] = min(seen[1], event.ts)
            seen[2] = max(seen[2], event.ts)

    def end(self, summary: Summary | None) -> None:
        """Write the file. Where nothing began it stays empty."""
        if self._trace is not None and not self._stream.closed:
            self.write(f"{line}\n".encode() for line in self._lines(self._trace))
            self._trace = None
        super().end(summary)

    def _lines(self, trace: Trace) -> Iterator[str]:
        plan, header = trace.plan, trace.header
        hits = np.zeros(len(plan), "<u8")
        for index, (count, _, _) in self._seen.items():
            if index < len(plan):
                hits[index] = count
        lost = trace.lost()
        states, counts = trace.plan_lines.line_states(hits, lost), trace.plan_lines.line_hits(hits)
        times = self._times(plan, header.clock_offset)
        functions = _functions(plan, hits)
        yield f"TN:{_NO_NAME.sub('_', f'ktcpdump_tui_{header.hostname}_{header.release}').strip('_')}"
        by_file: dict[str, list[int]] = {}
        for file, line in sorted(states):
            by_file.setdefault(file, []).append(line)
        for file, lines in by_file.items():
            yield f"SF:{file}"
            yield from _function_records(functions.get(file, {}))
            remarks: list[str] = []
            found = hit = 0
            for line in lines:
                state, count = states[file, line], counts[file, line]
                if state is LineState.NOT_PROBED:
                    remarks.append(f"#NOT_PROBED:{line}")
                    continue
                if state is LineState.UNKNOWN:
                    remarks.append(f"#UNKNOWN:{line}")
                    continue
                found += 1
                yield f"DA:{line},{count}"
                if count:
                    hit += 1
                    first, last = times[file, line]
                    remarks.append(f"#TIME:{line},{_seconds(first)},{_seconds(last)}")
            yield f"LF:{found}"
            yield f"LH:{hit}"
            yield from remarks
            yield "end_of_record"

    def _times(self, plan: Iterable[Instruction], offset: int) -> dict[tuple[str, int], tuple[int, int]]:
        """Return when each line ran first and last, in ns since 1970."""
        times: dict[tuple[str, int], tuple[int, int]] = {}
        for insn in plan:
            seen = self._seen.get(insn.index)
            if seen is None or insn.source is None:
                continue
            line = (insn.source.file, insn.source.line)
            first, last = times.get(line, (seen[1] + offset, seen[2] + offset))
            times[line] = min(first, seen[1] + offset), max(last, seen[2] + offset)
        return times


def _functions(plan: Iterable[Instruction], hits: np.ndarray) -> dict[str, dict[str, tuple[int, int]]]:
    """Return {file: {function: (line, hits)}} of the functions whose entry has a probe."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for insn in plan:
        if insn.offset not in _ENTRIES or insn.source is None or not insn.source.line:
            continue
        if insn.inlined_by[1:] or insn.symbol.partition(".cold")[1]:
            continue
        functions = found.setdefault(insn.source.file, {})
        line, count = functions.get(insn.symbol, (insn.source.line, 0))
        functions[insn.symbol] = line, max(count, int(hits[insn.index]))
    return found


def _function_records(functions: dict[str, tuple[int, int]]) -> Iterator[str]:
    ordered = sorted(functions.items(), key=lambda item: (item[1][0], item[0]))
    for name, (line, _) in ordered:
        yield f"FN:{line},{name}"
    for name, (_, count) in ordered:
        yield f"FNDA:{count},{name}"
    if ordered:
        yield f"FNF:{len(ordered)}"
        yield f"FNH:{sum(1 for _, (_, count) in ordered if count)}"


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"
