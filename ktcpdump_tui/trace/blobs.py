"""The names of what a trace carries beside events, and how embedded source is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui.trace.sink import TraceSink
    from ktcpdump_tui.trace.trace import Trace

#: What the variable inspector needs (written by debuginfo, opaque here).
TYPES: Final = "types"

#: The variables of the plan's instructions and their types: of the kernel, and with ``:MODULE`` of a module.
VARIABLES: Final = "variables"

#: The kernel's BTF, for structures.
BTF: Final = "btf"

#: JSON object: number of enum skb_drop_reason -> name.
DROP_REASONS: Final = "drop_reasons"

#: JSON object: hex address of a drop location -> [symbol+offset, "file:line" or null].
SYMBOLS: Final = "symbols"

#: The names of all addresses of the kernel's code and data (kernel/names.py).
KALLSYMS: Final = "kallsyms"

#: JSON object: "" for the kernel, or a module -> [build-id, compilation directory], each maybe null.
BUILDS: Final = "builds"

#: JSON array: indices of the plan's instructions whose source line is still being looked up.
LINES_PENDING: Final = "lines_pending"

_SOURCE: Final = "source:"


def variables_of(module: str | None) -> str:
    """Return the name of the blob with the variables of a module's code, or of the kernel's (None)."""
    return f"{VARIABLES}:{module}" if module else VARIABLES


def builds(trace: Trace) -> dict[str, tuple[str | None, str | None]]:
    """Return {"" or module: (build-id, compilation directory)} of the debug files that a trace was made with.

    Empty for a trace without; ValueError where it is damaged.
    """
    found = json.loads(trace.blob(BUILDS) or b"{}")
    try:
        return {str(name): (build_id, folder) for name, (build_id, folder) in found.items()}
    except (AttributeError, TypeError) as error:
        raise ValueError("the builds are no object of pairs") from error


def lines_pending(trace: Trace) -> frozenset[int]:
    """Return the instructions of which nobody can say yet whether they have a source line.

    None where the list is damaged: nobody waits for what will never come.
    """
    try:
        return frozenset(json.loads(trace.blob(LINES_PENDING) or b"[]"))
    except (ValueError, TypeError):
        return frozenset()


def embed_source(sink: TraceSink, file: str, text: bytes) -> None:
    """Store a source file under the name its lines have in the plan (``net/ipv4/ip_input.c``)."""
    sink.put_blob(_SOURCE + file, text)


def embed_sources(sink: TraceSink, files: Iterable[tuple[str, bytes]]) -> int:
    """Store several source files; return their number."""
    count = 0
    for file, text in files:
        embed_source(sink, file, text)
        count += 1
    return count


def embedded_source(trace: Trace, file: str) -> bytes | None:
    """Return the source file that was stored with the trace, or None."""
    return trace.blob(_SOURCE + file)


def embedded_files(trace: Trace) -> list[str]:
    """Return the names of the source files that were stored with the trace, sorted."""
    return [name.removeprefix(_SOURCE) for name in trace.blob_names() if name.startswith(_SOURCE)]
