"""--embed-source: the source of the probed lines travels with the trace."""

from __future__ import annotations

import json

from ktcpdump_tui.commands.sources import Embedding, sources_of
from ktcpdump_tui.debuginfo.source import Missing
from ktcpdump_tui.model import Instruction, SourceLine, Summary, TraceHeader
from ktcpdump_tui.trace import blobs
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

FOLDER = "/build/linux"


def test_source_is_read_from_the_trace_where_there_is_no_tree(tmp_path):
    tree = tmp_path / "linux"
    (tree / "net").mkdir(parents=True)
    (tree / "net/a.c").write_text("int a;\n\nint b; /* \N{SNOWMAN} */\n")
    plan = [
        Instruction(0, 0xFFFFFFFF81000000, "a", 0, source=SourceLine(f"{FOLDER}/net/a.c", 3)),
        Instruction(1, 0xFFFFFFFF81000004, "a", 4, source=SourceLine(f"{FOLDER}/net/gone.c", 1)),
    ]
    said: list[str] = []
    sink = Embedding(TraceWriter(tmp_path / "a.ktrace"), [tree], said.append)
    sink.write_header(TraceHeader("1", "6.12.0-none", "x86_64", None, (), 0, 0, 0))
    sink.put_blob(blobs.BUILDS, json.dumps({"": [None, FOLDER]}).encode())
    sink.write_plan(plan)
    sink.close(Summary(0, 0, 2, 2, 0))
    sink.close(None)
    assert said[0] == "1 source file embedded in the trace"
    assert "gone.c" in said[1]
    (tree / "net/a.c").unlink()
    with Trace.open(tmp_path / "a.ktrace") as trace:
        assert trace.finished
        assert blobs.embedded_files(trace) == [f"{FOLDER}/net/a.c"]
        found = sources_of([], trace).find(f"{FOLDER}/net/a.c")
        assert not isinstance(found, Missing)
        assert found.lines == ("int a;", "", "int b; /* \N{SNOWMAN} */")
        assert found.origin == "the trace"
