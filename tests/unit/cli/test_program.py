"""The program as a user runs it: exit statuses, one sentence on stderr, no traceback."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ktcpdump_tui import __version__
from ktcpdump_tui.trace.stream import StreamWriter
from ktcpdump_tui.trace.trace import Trace

ROOT = Path(__file__).parents[3]
TRACE = ROOT / "tests/data/ping-6.12.ktrace"
PROGRAM = [sys.executable, "-m", "ktcpdump_tui"]


def run(
    *words: str, command: list[str] | None = None, **settings: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(command or PROGRAM), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
        **settings,  # type: ignore[call-overload]
    )


def refused(status: int, *words: str, **settings: object) -> str:
    """Run what is meant to fail; return stderr, which is one sentence and what mends it."""
    result = run(*words, **settings)  # type: ignore[arg-type]
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.startswith("ktcpdump-tui: ")
    assert "Traceback" not in result.stderr
    return result.stderr


def test_version_and_help() -> None:
    assert run("--version").stdout == f"ktcpdump-tui {__version__}\n"
    assert run("-V").stdout == f"ktcpdump-tui {__version__}\n"
    assert run("--help").stdout.startswith("usage:")
    assert run("--help").returncode == 0


def test_the_start_imports_little() -> None:
    program = (
        "import sys, ktcpdump_tui.cli\n"
        "ktcpdump_tui.cli.parse(['--no-tui', '-c', '1', 'icmp'])\n"
        "print([name for name in sys.modules if name in "
        "('numpy', 'textual', 'elftools', 'bcc', 'capstone', 'scapy', 'rich')])"
    )
    assert run(command=[sys.executable, "-c", program]).stdout.strip() == "[]"


def test_replay_needs_neither_bcc_nor_textual_nor_root() -> None:
    program = (
        "import sys, ktcpdump_tui.cli as cli\n"
        f"status = cli.main(['-r', {str(TRACE)!r}, '--no-tui', '-c', '1'])\n"
        "unwanted = ('textual', 'elftools', 'bcc', 'capstone', 'scapy')\n"
        "print([name for name in sys.modules if name in unwanted], status)"
    )
    assert run(command=[sys.executable, "-c", program]).stdout.splitlines()[-1] == "[] 0"


# Bad input of the first issue, as far as no root and no kernel are needed


def test_bad_expression_shows_libpcaps_message_and_a_caret() -> None:
    said = refused(2, "--no-tui", "icmp and", "and", "tcp")
    assert "syntax error" in said
    lines = said.splitlines()
    caret = next(number for number, line in enumerate(lines) if set(line.strip()) == {"^"})
    assert "icmp and and tcp" in lines[caret - 1]
    assert refused(2, "--no-tui", "-r", str(TRACE), "tcp prot 80")


@pytest.mark.parametrize(
    "words", [["-i", "a:b:c"], ["-i", "ip_rcv+x"], ["-i", "x.c:0"], ["-i", "ip_rcv,"], ["-i", " "]]
)
def test_bad_spec(words: list[str]) -> None:
    said = refused(2, "--no-tui", *words)
    assert len(said.splitlines()) >= 2


def test_usage_errors() -> None:
    assert "unknown option --nope" in refused(2, "--nope")
    assert "-c: 0 is less than 1" in refused(2, "--no-tui", "-c", "0")
    assert "comes too late" in refused(2, "-r", str(TRACE), "-i", "ip_rcv")
    assert "no terminal" in refused(2, "icmp")
    assert "no terminal" in refused(2, "-r", str(TRACE))


def test_unreadable_traces(tmp_path: Path) -> None:
    assert "No such file" in refused(1, "--no-tui", "-r", str(tmp_path / "none.ktrace"))
    (tmp_path / "text.ktrace").write_text("hello\n" * 2000)
    assert "text.ktrace" in refused(1, "--no-tui", "-r", str(tmp_path / "text.ktrace"))
    (tmp_path / "empty.ktrace").touch()
    assert "empty.ktrace" in refused(1, "--no-tui", "-r", str(tmp_path / "empty.ktrace"))
    half = tmp_path / "half.ktrace"
    half.write_bytes(TRACE.read_bytes()[: TRACE.stat().st_size // 2])
    result = run("--no-tui", "-r", str(half))
    assert result.returncode == 1
    assert result.stderr.startswith("ktcpdump-tui: ")
    assert "Traceback" not in result.stderr
    assert refused(1, "--no-tui", "-r", str(tmp_path))


def test_a_trace_that_may_not_be_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.ktrace"
    shutil.copy(TRACE, secret)
    secret.chmod(0)
    if os.geteuid() == 0:
        nobody = as_nobody(tmp_path)
        result = run("--no-tui", "-r", str(secret), command=nobody)
        assert result.returncode == 1
        assert "ermission" in result.stderr
    else:
        assert "ermission" in refused(1, "--no-tui", "-r", str(secret))


def test_places_that_are_not_there(tmp_path: Path) -> None:
    assert "there is no folder" in refused(1, "--no-tui", "-w", str(tmp_path / "no/x.pcap"))
    assert "there is no folder" in refused(1, "--no-tui", "-o", str(tmp_path / "no/x.ktrace"))
    assert "is a folder" in refused(1, "--no-tui", "-o", str(tmp_path))
    assert "does not exist" in refused(1, "--no-tui", "-s", str(tmp_path / "no"))


def as_nobody(tmp_path: Path) -> list[str]:
    """Return the program's argv for a user without rights; nobody must be able to read this project."""
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o111)
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", *PROGRAM]


def kernel_has_kprobes() -> bool:
    return Path("/sys/bus/event_source/devices/kprobe").exists()


def test_a_kernel_without_kprobes_or_a_user_who_is_not_root(tmp_path: Path) -> None:
    """On a kernel without kprobes that is what is said first; elsewhere it is that root is needed."""
    said = refused(1, "--no-tui", "icmp", command=as_nobody(tmp_path))
    if kernel_has_kprobes():
        assert "needs root" in said
        assert "sudo" in said
    else:
        assert f"this kernel ({platform.release()}) has no kprobes: CONFIG_KPROBES is not set" in said
        assert "ktcpdump-tui --lab" in said


def test_check_says_what_is_missing_and_how_to_mend_it(tmp_path: Path) -> None:
    result = run("--check", command=as_nobody(tmp_path))
    assert result.returncode == 1
    rows = result.stdout.splitlines()
    assert any(row.startswith("MISSING  root: probing the kernel needs root") for row in rows)
    assert any(row.startswith("ok       machine: x86_64") for row in rows)
    if not kernel_has_kprobes():
        at = next(number for number, row in enumerate(rows) if "CONFIG_KPROBES is not set" in row)
        assert "--lab" in rows[at + 1]


def test_packets_of_a_trace_for_tcpdump(tmp_path: Path) -> None:
    for name in ("x.pcap", "x.pcapng"):
        result = run("--no-tui", "-r", str(TRACE), "-w", str(tmp_path / name), "-c", "10")
        assert result.returncode == 0, result
        assert len(result.stdout.splitlines()) == 11
        shown = subprocess.check_output(
            ["tcpdump", "-n", "-r", tmp_path / name], text=True, stderr=subprocess.DEVNULL
        )
        assert len(re.findall("ICMP echo request", shown)) == 10
    program = " ".join(PROGRAM)
    piped = f"{program} -r {TRACE} -w - -c 3 | tcpdump -n -r - 2>/dev/null"
    shown = subprocess.check_output(["bash", "-c", piped], cwd=ROOT, text=True)
    assert len(re.findall("ICMP echo request", shown)) == 3


def test_two_packets_are_compared() -> None:
    shown = run("-r", str(TRACE), "--compare", "1", "4")
    assert (shown.returncode, shown.stdout.splitlines()[-1]) == (0, "both took the same path")
    said = refused(2, "-r", str(TRACE), "--compare", "1", "99")
    assert "there is no packet 99" in said


def test_the_json_of_another_program_is_shown_as_it_comes() -> None:
    program = " ".join(PROGRAM)
    plain = run("--no-tui", "-r", str(TRACE)).stdout
    piped = f"{program} -r {TRACE} --json | {program} -r - --no-tui"
    assert subprocess.check_output(["bash", "-c", piped], cwd=ROOT, text=True) == plain
    selected = f"{program} -r {TRACE} --json | {program} -r - --no-tui -c 4 'icmp[0] == 0'"
    rows = subprocess.check_output(["bash", "-c", selected], cwd=ROOT, text=True).splitlines()
    assert len(rows) == 5
    # One event is shown before the next one comes.
    lines = run("--json", "-r", str(TRACE)).stdout.splitlines(keepends=True)
    process = subprocess.Popen(
        [*PROGRAM, "-r", "-", "--no-tui"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.writelines(lines[:2])
    process.stdin.flush()
    assert process.stdout.readline().startswith("no ")
    assert process.stdout.readline() == plain.splitlines(keepends=True)[1]
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.stdin.close()
    assert process.wait(30) == 0


def test_packets_of_a_stream_are_compared_when_it_has_ended() -> None:
    program = " ".join(PROGRAM)
    whole = TRACE.with_name("four-ways-6.12.ktrace")
    piped = f"{program} -r {whole} --json | {program} -r - --compare 1 3"
    lines = subprocess.check_output(["bash", "-c", piped], cwd=ROOT, text=True).splitlines()
    direct = run("-r", str(whole), "--compare", "1", "3").stdout.splitlines()
    # JSON has no stacks, so that some values are missing; the decision is the same line.
    decided = [line for line in direct if "ip_forward.c:118" in line]
    assert decided
    assert set(decided) & set(lines), lines
    piped = f"{program} -r {whole} --json | {program} -r - --compare 1 77"
    wrong = subprocess.run(["bash", "-c", piped], cwd=ROOT, text=True, capture_output=True, check=False)
    assert wrong.returncode == 2
    assert "there is no packet 77" in wrong.stderr


def test_a_stream_of_frames_is_shown_too(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    with Trace.open(TRACE) as trace, frames.open("wb") as file:
        writer = StreamWriter(file)
        writer.write_header(trace.header)
        writer.write_plan(trace.plan)
        writer.write_events(trace.rows(1, len(trace)))
        writer.close(trace.summary)
    with frames.open("rb") as file:
        result = subprocess.run(
            [*PROGRAM, "-r", "-", "--no-tui"],
            cwd=ROOT,
            stdin=file,
            capture_output=True,
            text=True,
            check=True,
        )
    assert len(result.stdout.splitlines()) == len(run("--no-tui", "-r", str(TRACE)).stdout.splitlines())


def test_garbage_on_stdin_is_one_sentence() -> None:
    for garbage in ("hello\n", '{"type": "header"', "\x89ktrace\n"):
        result = subprocess.run(
            [*PROGRAM, "-r", "-", "--no-tui"],
            cwd=ROOT,
            input=garbage,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 1, result
        assert result.stderr.startswith("ktcpdump-tui: ")
        assert "Traceback" not in result.stderr
        assert "unexpected" not in result.stderr


# What a shell does to programs


def test_a_pipe_that_closes_ends_it_quietly() -> None:
    for option in ("--no-tui", "--json"):
        shell = f"{' '.join(PROGRAM)} -r {TRACE} {option} | head -1; echo ${{PIPESTATUS[0]}}"
        result = subprocess.run(
            ["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert result.stderr == ""
        assert len(result.stdout.splitlines()) == 2
        assert result.stdout.splitlines()[1] == "0"


def test_a_full_disk_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*PROGRAM, "-r", str(TRACE), "--no-tui"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("ktcpdump-tui: cannot write to stdout: No space left")


def test_a_capture_that_cannot_begin_leaves_an_older_recording_alone(tmp_path: Path) -> None:
    older = tmp_path / "older.ktrace"
    shutil.copy(TRACE, older)
    refused(1, "--no-tui", "-o", str(older), command=as_nobody(tmp_path))
    assert older.read_bytes() == TRACE.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["older.ktrace"]


def test_an_unexpected_error_asks_for_a_report(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "import ktcpdump_tui.cli as cli\n"
        "import ktcpdump_tui.commands.replay as replay\n"
        "def broken(*_): raise ZeroDivisionError('x')\n"
        "replay.replay = broken\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    broken = [sys.executable, "-c", program]
    said = refused(1, "-r", "x", "--no-tui", command=broken)
    assert "unexpected ZeroDivisionError: x" in said
    assert "with -v" in said
    assert "Traceback" in run("-v", "-r", "x", "--no-tui", command=broken).stderr
