"""``-r TRACE -w FILE``: a trace converted by the suffix of FILE."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "data"
PING = DATA / "ping-6.12.ktrace"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ktcpdump_tui", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("x.pcap", b"\x4d\x3c\xb2\xa1"),
        ("x", b"\x4d\x3c\xb2\xa1"),
        ("x.pcapng", b"\x0a\x0d\x0d\x0a"),
        ("x.jsonl", b'{"type":"header"'),
        ("x.txt", b"no   skb "),
        ("x.info", b"TN:"),
        ("x.parquet", b"PAR1"),
    ],
)
def test_the_suffix_chooses_and_nothing_is_printed(tmp_path: Path, name: str, start: bytes) -> None:
    result = run("-r", str(PING), "-w", str(tmp_path / name))
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"472 events written to {tmp_path / name}\n"
    assert (tmp_path / name).read_bytes().startswith(start)


def test_only_the_selected_events_are_written(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    result = run("-r", str(PING), "-w", str(path), "-c", "20", "icmp[0] == 8")
    assert result.returncode == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()][1:-1]
    assert len(rows) == 20
    assert {bytes.fromhex(row["packet"])[34] for row in rows} == {8}
    assert run("-r", str(PING), "-w", str(path), "--packets", "1").returncode == 0
    assert len(path.read_text().splitlines()) > 20


def test_the_table_is_printed_beside_where_it_is_asked_for(tmp_path: Path) -> None:
    result = run("-r", str(PING), "--no-tui", "-w", str(tmp_path / "x.info"), "-c", "5")
    assert (result.returncode, len(result.stdout.splitlines()), result.stderr) == (0, 6, "")
    assert "end_of_record" in (tmp_path / "x.info").read_text()


def test_a_suffix_that_is_almost_right_is_bad_usage(tmp_path: Path) -> None:
    result = run("-r", str(PING), "-w", str(tmp_path / "x.jsnol"))
    assert result.returncode == 2
    assert "no format is called .jsnol\n  did you mean .json" in result.stderr
