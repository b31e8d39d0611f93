"""A trace written at once, in each format, whole and in part."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.export import FORMATS, check_export, export, format_of
from ktcpdump_tui.headless.jsonlines import JsonLines
from ktcpdump_tui.headless.output import JsonOutput, TableOutput
from ktcpdump_tui.headless.runner import Limits, follow
from ktcpdump_tui.headless.table import Table
from ktcpdump_tui.trace.trace import Trace

DATA = Path(__file__).parents[2] / "data"
PING = DATA / "ping-6.12.ktrace"

SUFFIXES = [suffix for each in FORMATS for suffix in each.suffixes]


def test_the_suffix_names_the_format() -> None:
    assert [format_of(f"a.b{suffix}").name for suffix in (".PCAPNG", ".jsonl", ".txt", ".info")] == [  # type: ignore[union-attr]
        "pcapng", "jsonl", "table", "lcov",
    ]  # fmt: skip
    assert format_of("trace") is None
    assert check_export("dump.cap").name == "pcap"  # as tcpdump takes any name


def test_an_almost_right_suffix_is_asked_about() -> None:
    with pytest.raises(UsageError, match=r"no format is called \.parqet") as caught:
        check_export("x.parqet")
    assert caught.value.remedy == "did you mean .parquet?"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_appears_when_it_is_complete_and_progress_is_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    told: list[tuple[int, int | None]] = []

    def progress(done: int, total: int | None) -> None:
        assert not path.exists()
        told.append((done, total))

    with Trace.open(PING) as trace:
        assert export(trace, path, progress=progress) == len(trace)
        assert told[-1] == (len(trace), len(trace))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_cancelled_export_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("older")

    class CancelledError(Exception):
        pass

    def progress(done: int, total: int | None) -> None:
        raise CancelledError

    with Trace.open(PING) as trace, pytest.raises(CancelledError):
        export(trace, path, progress=progress)
    assert path.read_text() == "older"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".jsonl", ".txt"])
def test_files_have_what_is_printed(tmp_path: Path, suffix: str) -> None:
    out = io.StringIO()
    with Trace.open(PING) as trace:
        export(trace, tmp_path / f"out{suffix}")
        output = JsonOutput(JsonLines(trace=trace), out) if suffix == ".jsonl" else TableOutput(Table(), out)
        follow(trace, [output], Limits())
    assert (tmp_path / f"out{suffix}").read_text() == out.getvalue()


def test_selected_events_keep_their_numbers_and_order(tmp_path: Path) -> None:
    numbers = [3, 4, 5, 90, 200, 201]
    with Trace.open(PING) as trace:
        assert export(trace, tmp_path / "some.jsonl", iter(numbers)) == 6
        assert export(trace, tmp_path / "none.jsonl", []) == 0
    rows = [json.loads(line) for line in (tmp_path / "some.jsonl").read_text().splitlines()]
    assert [row["no"] for row in rows[1:-1]] == numbers
    assert len((tmp_path / "none.jsonl").read_text().splitlines()) == 2


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with Trace.open(PING) as trace:
        with pytest.raises(UserError, match="No such file or directory"):
            export(trace, tmp_path / "none" / "x.txt")
        with pytest.raises(UserError, match="is a folder"):
            export(trace, tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_a_sentence_and_leaves_nothing(suffix: str, tmp_path: Path) -> None:
    """A file size limit stands for the disk: it fails where a full disk does, in the middle of a write."""
    program = (
        "import resource, signal, sys\n"
        "from ktcpdump_tui.trace.trace import Trace\n"
        "from ktcpdump_tui.export import export\n"
        "from ktcpdump_tui.errors import UserError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\n"
        "with Trace.open(sys.argv[1]) as trace:\n"
        "    try: export(trace, sys.argv[2])\n"
        "    except UserError as error: print(error.message)\n"
    )
    path = tmp_path / f"out{suffix}"
    run = subprocess.run(
        [sys.executable, "-c", program, PING, path], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"cannot write to {path}: File too large\n", run.stderr
    assert run.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_without_pyarrow_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    """In a Python that has the program's own packages only."""
    program = (
        "import sys; from importlib.abc import MetaPathFinder\n"
        "import importlib.util as util; real = util.find_spec\n"
        "class Hidden(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] == 'pyarrow': raise ModuleNotFoundError(name)\n"
        "util.find_spec = lambda name, package=None: None if name == 'pyarrow' else real(name, package)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from ktcpdump_tui.cli import main\n"
        f"sys.exit(main(['-r', {str(PING)!r}, '-w', {str(tmp_path / 'x.parquet')!r}]))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "written with pyarrow, which is not installed" in run.stderr
    assert "pip install 'ktcpdump-tui[parquet]'" in run.stderr
    assert list(tmp_path.iterdir()) == []
