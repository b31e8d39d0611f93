"""The formats a trace is exported in, by the suffix of the file's name."""

from __future__ import annotations

import difflib
import importlib.util
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.trace.outfile import reported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from ktcpdump_tui.headless.output import Output, Values
    from ktcpdump_tui.trace.trace import Trace


@dataclass(frozen=True, slots=True)
class Showing:
    """What is shown of an event beside what every event has: watch expressions, variables in scope.

    Only formats with room for it take notice: JSON lines and Parquet, and the table of watches alone.
    ``values`` knows them, and what indirect calls go to; ``trace`` knows the lines' states; see ``of``.
    """

    watches: tuple[str, ...] = ()
    local_variables: bool = False
    values: Values | None = None
    trace: Trace | None = None

    @classmethod
    def of(cls, trace: Trace, watches: Sequence[str] = (), local_variables: bool = False) -> Self:
        """Return what shows ``watches`` at events of ``trace``; UsageError where one is no expression."""
        from ktcpdump_tui.headless.values import EventValues

        return cls(tuple(watches), local_variables, EventValues(trace, watches), trace)


@dataclass(frozen=True, slots=True)
class Format:
    """One format: ``suffixes`` with their dot, the first being the usual one; ``what`` describes it.

    ``make`` takes an open binary file, its name for messages, whether to close it, and what to show.
    ``needs`` is a module that an extra of the same name as the format installs.
    """

    name: str
    suffixes: tuple[str, ...]
    what: str
    make: Callable[[BinaryIO, str, bool, Showing], Output]
    needs: str | None = None


#: Such a suffix has a meaning of its own: .cap and .dmp are what other tools call pcap.
_SHORT: Final = 4


def _pcap(stream: BinaryIO, name: str, close: bool, showing: Showing) -> Output:  # noqa: ARG001
    from ktcpdump_tui.trace.pcap import PcapWriter

    return PcapWriter(stream, name, close)


def _pcapng(stream: BinaryIO, name: str, close: bool, showing: Showing) -> Output:  # noqa: ARG001
    from ktcpdump_tui.trace.pcapng import PcapngWriter

    return PcapngWriter(stream, name, close)


def _json(stream: BinaryIO, name: str, close: bool, showing: Showing) -> Output:
    from ktcpdump_tui.headless.jsonlines import JsonLines
    from ktcpdump_tui.headless.output import JsonOutput

    lines = JsonLines(showing.watches, showing.local_variables, showing.values, showing.trace)
    return JsonOutput(lines, _text(stream), name, close)


def _table(stream: BinaryIO, name: str, close: bool, showing: Showing) -> Output:
    from ktcpdump_tui.headless.output import TableOutput
    from ktcpdump_tui.headless.table import Table

    return TableOutput(Table(showing.watches, showing.values), _text(stream), name, close)


def _coverage(stream: BinaryIO, name: str, close: bool, showing: Showing) -> Output:  # noqa: ARG001
    from ktcpdump_tui.export.coverage import CoverageWriter

    return CoverageWriter(stream, name, close)


def _parquet(stream: BinaryIO, name: str, close: bool, showing: Showing) -> Output:
    from ktcpdump_tui.export.parquet import ParquetOutput

    return ParquetOutput(stream, name, close, showing)


def _text(stream: BinaryIO) -> io.TextIOWrapper:
    # Names from a kernel may be any bytes; they came in as surrogates and go out as escapes.
    return io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="\n")


FORMATS: Final = (
    Format("pcap", (".pcap",), "packets for tcpdump, one per event", _pcap),
    Format(
        "pcapng",
        (".pcapng",),
        "packets with function, source line and drop reason, for Wireshark",
        _pcapng,
    ),
    Format("jsonl", (".jsonl", ".json", ".ndjson"), "one JSON object per line, as --json prints", _json),
    Format("table", (".txt",), "the table, as --no-tui prints it", _table),
    Format("lcov", (".info", ".lcov"), "hits of every source line, for genhtml", _coverage),
    Format("parquet", (".parquet",), "columns for DuckDB, Spark or ClickHouse", _parquet, needs="pyarrow"),
)


def format_of(path: Path | str) -> Format | None:
    """Return the format that the name's suffix stands for, None where it stands for none."""
    suffix = Path(path).suffix.lower()
    return next((each for each in FORMATS if suffix in each.suffixes), None)


def check_export(path: Path | str) -> Format:
    """Return the format of ``path``; UserError where it needs a package that is not there.

    A name without a suffix of FORMATS is pcap, as tcpdump takes any name; UsageError where the suffix is
    almost one of them.
    """
    chosen = format_of(path)
    suffix = Path(path).suffix.lower()
    if chosen is None:
        known = [one for each in FORMATS for one in each.suffixes]
        near = difflib.get_close_matches(suffix, known, n=1, cutoff=0.8)
        if near and len(suffix) > _SHORT:
            raise UsageError(f"{path}: no format is called {suffix}", f"did you mean {near[0]}?")
        return FORMATS[0]
    if chosen.needs and importlib.util.find_spec(chosen.needs) is None:
        raise UserError(
            f"{path}: {suffix} files are written with {chosen.needs}, which is not installed",
            f"pip install 'ktcpdump-tui[{chosen.name}]'",
        )
    return chosen


def open_export(path: Path | str, showing: Showing | None = None) -> Output:
    """Return what writes the events of a trace to ``path``, in the format of its suffix.

    ``-`` is pcap on stdout: UsageError where that is a terminal. The file is created at once, so that a
    wrong name is known before the capture: UserError.
    """
    showing = showing or Showing()
    if str(path) == "-":
        if sys.stdout.isatty():
            raise UsageError(
                "A capture file is not written to a terminal.",
                "Name a file, or read it with another program: ktcpdump-tui -w - ... | tcpdump -r -",
            )
        return _pcap(sys.stdout.buffer, "stdout", False, showing)
    chosen = check_export(path)
    with reported(str(path)):
        stream = Path(path).expanduser().open("wb")
    return chosen.make(stream, str(path), True, showing)
