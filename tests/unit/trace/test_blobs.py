"""Source embedded in a trace is found again under its name."""

from __future__ import annotations

import synthetic_trace as made

from ktcpdump_tui.trace import blobs
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter


def test_embedded_source_is_found_by_the_name_its_lines_have(tmp_path):
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer.write_header(made.header())
    writer.put_blob(blobs.TYPES, b"")
    files = {"net/ipv4/ip_input.c": b"int x;\n" * 1000, "net/core/dev.c": "käse\n".encode(), "empty.h": b""}
    assert blobs.embed_sources(writer, files.items()) == 3
    writer.close(None)
    with Trace.open(tmp_path / "a.ktrace") as trace:
        assert blobs.embedded_files(trace) == sorted(files)
        assert {name: blobs.embedded_source(trace, name) for name in files} == files
        assert blobs.embedded_source(trace, "net/ipv4/route.c") is None
        assert trace.blob(blobs.TYPES) == b""
