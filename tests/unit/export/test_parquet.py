"""Traces of several machines as Parquet, queried together."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from ktcpdump_tui.export import export
from ktcpdump_tui.export.parquet import ROW_GROUP, SCHEMA
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

DATA = Path(__file__).parents[2] / "data"
NAMES = ("ping-6.12", "ping-6.1", "udp-drop-6.12")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parquet")
    for name in NAMES:
        with Trace.open(DATA / f"{name}.ktrace") as trace:
            export(trace, folder / f"{name}.parquet")
    return folder


def test_duckdb_queries_two_traces_together(folder: Path) -> None:
    rows = duckdb.sql(
        f"SELECT release, count(*), count(DISTINCT packet_id) FROM '{folder}/ping-*.parquet' "
        "GROUP BY release ORDER BY release"
    ).fetchall()
    expected = []
    for name in ("ping-6.1", "ping-6.12"):
        with Trace.open(DATA / f"{name}.ktrace") as trace:
            packets = {event.packet_id for event in trace.events(1, len(trace))}
            expected.append((trace.header.release, len(trace), len(packets)))
    assert rows == expected


def test_a_query_finds_the_drop_and_its_line(folder: Path) -> None:
    with Trace.open(DATA / "udp-drop-6.12.ktrace") as trace:
        (packet,) = [one for one in trace.packets() if one.fate == "dropped"]
        span = trace.packet_span(packet.id)
    query = (
        f"SELECT DISTINCT packet_id, drop_reason, drop_symbol, drop_line FROM '{folder}/*.parquet' "
        "WHERE fate = 'dropped' AND drop_symbol LIKE '__udp4%'"
    )
    assert duckdb.sql(query).fetchall() == [(packet.id, "NO_SOCKET", packet.drop_symbol, packet.drop_line)]
    ends = duckdb.sql(
        f"SELECT min(no), max(no) FROM '{folder}/*.parquet' WHERE drop_symbol LIKE '__udp4%'"
    ).fetchall()
    assert ends == [span]


def test_every_column_is_what_json_says(tmp_path: Path, folder: Path) -> None:
    with Trace.open(DATA / "udp-drop-6.12.ktrace") as trace:
        export(trace, tmp_path / "trace.jsonl")
        offset = trace.header.clock_offset
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()[1:-1]]
    table = pq.read_table(folder / "udp-drop-6.12.parquet")
    assert table.schema.names == SCHEMA.names
    rows = table.drop_columns(["time"]).to_pylist()
    times = table.column("time").cast("int64").to_pylist()
    assert len(rows) == len(lines)
    for line, row, time in zip(lines, rows, times, strict=True):
        regs = {name: int(value, 16) for name, value in line["regs"].items()}
        assert row["regs"] == regs
        assert row["packet"] == (bytes.fromhex(line["packet"]) if line["packet"] else None)
        assert (row["skb"], row["pc"]) == (int(line["skb"], 16), int(line["pc"], 16))
        assert time == line["ts"] + offset
        same = line.keys() - {"regs", "packet", "skb", "pc"}
        assert {key: row[key] for key in same} == {key: line[key] for key in same}


def test_memory_is_bounded_by_the_row_group(tmp_path: Path) -> None:
    """More events than a row group has: none holds more than that and a batch."""
    with Trace.open(DATA / "ping-6.12.ktrace") as source:
        writer = TraceWriter(tmp_path / "long.ktrace")
        writer.write_header(source.header)
        writer.write_plan(source.plan)
        rows = source.rows(1, len(source))
        times = 2 * ROW_GROUP // len(rows) + 1
        for _ in range(times):
            writer.write_events(rows)
        writer.close(None)
    with Trace.open(tmp_path / "long.ktrace") as trace:
        export(trace, tmp_path / "long.parquet")
        total = len(trace)
    file = pq.ParquetFile(tmp_path / "long.parquet")
    sizes = [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)]
    assert sum(sizes) == total
    assert len(sizes) == 3
    assert max(sizes) < ROW_GROUP + 600
