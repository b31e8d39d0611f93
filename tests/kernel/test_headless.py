"""The program without a screen, against the kernel's own tracer and elfutils' addr2line."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ktcpdump_tui.lab.capture import program, program_environment
from ktcpdump_tui.model import ProbeState
from ktcpdump_tui.trace.trace import Trace
from tests.kernel.harness import Captured, Command, capture, commands

if TYPE_CHECKING:
    from ktcpdump_tui.lab import Lab

SYMBOL = "ip_rcv_core"
EVENTS = 200
TRACING = "/sys/kernel/tracing"
GROUP = "ktdcheck"
ROOT = Path(__file__).parents[2]
#: In the guest.
RECORDED = "/tmp/ping.ktrace"
PACKETS = "/tmp/ping.pcap"


def offsets(lab: Lab) -> list[int]:
    """Offsets of the instructions of SYMBOL as they are in the running kernel, by readelf, dd and objdump.

    The kernel rewrites its code when it starts, so that vmlinux has other instructions here and there.
    """
    running = int(lab.check_output(f"grep ' {SYMBOL}$' /proc/kallsyms").split()[0], 16)
    size = next(int(line.split()[1], 16) for line in symbols(lab.vmlinux) if line.endswith(f" {SYMBOL}"))
    for line in lab.check_output("readelf -lW /proc/kcore").splitlines():
        words = line.split()
        if words[:1] == ["LOAD"] and int(words[2], 16) <= running < int(words[2], 16) + int(words[5], 16):
            place = int(words[1], 16) + running - int(words[2], 16)
            break
    read = lab.run(f"dd if=/proc/kcore bs={size} count=1 skip={place} iflag=skip_bytes status=none")
    code, _ = read.communicate(120)
    assert len(code) == size
    with tempfile.NamedTemporaryFile() as file:
        file.write(code)
        file.flush()
        output = subprocess.check_output(
            ["objdump", "-D", "--no-show-raw-insn", "-b", "binary", "-m", "i386:x86-64", file.name], text=True
        )
    return [int(match[1], 16) for match in re.finditer(r"^ *([0-9a-f]+):\t", output, re.MULTILINE)]


@functools.cache
def symbols(vmlinux: Path) -> list[str]:
    """Lines of nm: address, size, kind, name."""
    return subprocess.check_output(["nm", "-S", vmlinux], text=True).splitlines()


def link_time(vmlinux: Path, symbol: str) -> int:
    return next(int(line.split()[0], 16) for line in symbols(vmlinux) if line.endswith(f" {symbol}"))


def independent_tracer(lab: Lab) -> str:
    """Shell that has the kernel itself trace every instruction of SYMBOL; what it refuses is left out."""
    definitions = "".join(
        f"echo 'p:{GROUP}/all {SYMBOL}+{offset}' >> {TRACING}/kprobe_events 2>/dev/null;"
        for offset in offsets(lab)
    )
    return f"{definitions} echo 1 > {TRACING}/events/{GROUP}/all/enable;"


REMOVE = (
    f"echo 0 > {TRACING}/events/{GROUP}/all/enable; echo '-:{GROUP}/all' >> {TRACING}/kprobe_events;"
    f" echo > {TRACING}/trace"
)


@dataclass
class Ping:
    """One capture of a ping, and what others saw of it."""

    lab: Lab
    captured: Captured
    theirs: list[str]
    trace: Path
    pcap: Path
    left: str

    @property
    def rows(self) -> list[list[str]]:
        """The table's cells."""
        return [line.split() for line in self.captured.text.splitlines()[1:]]


@pytest.fixture(scope="module")
def ping(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Ping:
    """``--no-tui -i 'ip_rcv_core+*' -c 200 icmp`` during a ping, with the kernel's tracer beside it."""
    words = ["--no-tui", "-i", f"{SYMBOL}+*", "-c", str(EVENTS), "-d", str(lab.vmlinux)]
    traffic = independent_tracer(lab) + " ping -c 5 -i 0.3 127.0.0.1; sleep 30"
    captured = capture(lab, [*words, "-o", RECORDED, "-w", PACKETS, "icmp"], traffic=traffic, timeout=300)
    seen = lab.check_output(["cat", f"{TRACING}/trace"])
    left = lab.check_output(f"cat {TRACING}/kprobe_events | grep -v {GROUP}/ || true")
    lab.check_output(REMOVE)
    folder = tmp_path_factory.mktemp("ping")
    for name in (RECORDED, PACKETS):
        data, _ = lab.run(["cat", name]).communicate()
        (folder / Path(name).name).write_bytes(data)
    theirs = re.findall(rf"all: \(({SYMBOL}\+0x[0-9a-f]+)/", seen)
    return Ping(lab, captured, theirs, folder / "ping.ktrace", folder / "ping.pcap", left)


def test_the_table_is_the_path_the_kernels_own_tracer_saw(ping: Ping) -> None:
    assert ping.captured.text.splitlines()[0].split() == ["no", "skb", "skb->len", "pc", "ksym", "addr2line"]
    ours = [row[4] for row in ping.rows]
    assert len(ours) == EVENTS
    theirs = [f"{SYMBOL}+{int(name.partition('+')[2], 16)}" for name in ping.theirs]
    assert ours == theirs[:EVENTS]
    assert [int(row[0]) for row in ping.rows] == list(range(1, EVENTS + 1))


def test_addresses_are_the_running_kernels(ping: Ping) -> None:
    running = ping.lab.check_output("grep ' ip_rcv_core$' /proc/kallsyms").split()[0]
    for row in ping.rows:
        assert int(row[3], 16) == int(running, 16) + int(row[4].partition("+")[2])


def test_every_line_is_addr2lines(ping: Ping) -> None:
    base = link_time(ping.lab.vmlinux, SYMBOL)
    wanted = sorted({base + int(row[4].partition("+")[2]) for row in ping.rows})
    output = subprocess.check_output(
        ["eu-addr2line", "-a", "-i", "-e", ping.lab.vmlinux, *map(hex, wanted)], text=True
    )
    theirs: dict[int, str] = {}
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("0x"):
            theirs[int(line, 16)] = ":".join(lines[number + 1].split(":")[:2])
    for row in ping.rows:
        expected = theirs[base + int(row[4].partition("+")[2])]
        # elfutils keeps the folder the kernel was built in.
        assert expected.endswith("/" + row[5]), (row, expected)


def test_calls_are_marked(ping: Ping) -> None:
    with Trace.open(ping.trace) as trace:
        for row, event in zip(ping.rows, trace.events(1, len(trace)), strict=True):
            call = event.instruction.call
            assert row[6:] == (["//", "CALL", call] if call and call != "__fentry__" else row[6:])


def test_each_packet_is_whole_and_one(ping: Ping) -> None:
    """A ping of 64 bytes over lo: requests and answers take turns, each with its own skb or its own visit."""
    lengths = {row[2] for row in ping.rows}
    assert lengths == {"84"}
    with Trace.open(ping.trace) as trace:
        visits = [event.packet_id for event in trace.events(1, len(trace)) if event.instruction.offset == 0]
        assert visits == sorted(set(visits))
        assert len(trace) == EVENTS


def test_counts_are_told_as_tcpdump_does(ping: Ping) -> None:
    said = ping.captured.stderr
    with Trace.open(ping.trace) as trace:
        assert trace.summary is not None
        assert f"{EVENTS} events captured\n" in said
        assert re.search(
            rf"^{trace.summary.packets} packets?(, and \d+ made from them .*)?$", said, re.MULTILINE
        )
        states = [one.probe for one in trace.plan]
        attached, refused = states.count(ProbeState.ATTACHED), states.count(ProbeState.REFUSED)
        assert f"{attached + refused} probes: {attached} attached, {refused} refused\n" in said
        assert "0 events lost" in said


def test_nothing_is_left_in_the_kernel(ping: Ping) -> None:
    assert ping.left.strip() == ""


def host(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ktcpdump_tui", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )


def test_the_recorded_trace_replays_to_the_same_table_elsewhere(ping: Ping) -> None:
    assert host("-r", str(ping.trace), "--no-tui").stdout == ping.captured.text


def test_json_has_every_key_and_the_values_of_the_ping(ping: Ping) -> None:
    header, *rows, summary = [
        json.loads(line) for line in host("-r", str(ping.trace), "--json").stdout.splitlines()
    ]
    assert header["release"] == ping.lab.release
    assert header["expression"] == "icmp"
    assert summary["events"] == len(rows) == EVENTS
    row: dict[str, Any]
    for row in rows:
        assert row["dev"] == "lo"
        assert row["len"] == 84
        packet = bytes.fromhex(row["packet"])
        assert packet[12:14] == b"\x08\x00"  # IPv4
        assert packet[14 + 9] == 1  # ICMP
        assert packet[14 + 12 : 14 + 20] == bytes([127, 0, 0, 1] * 2)
        assert row["regs"]["rip"] == row["pc"]
        assert row["file"]
        assert row["inlined_by"][-1]["function"] == SYMBOL
    boot = [row["ts"] for row in rows]
    assert boot == sorted(boot)


def test_packets_are_read_by_tcpdump_and_tshark(ping: Ping) -> None:
    shown = subprocess.check_output(["tcpdump", "-n", "-r", ping.pcap], text=True, stderr=subprocess.DEVNULL)
    lines = shown.splitlines()
    assert lines
    assert all("127.0.0.1 > 127.0.0.1: ICMP echo re" in line for line in lines)
    fields = subprocess.check_output(
        ["tshark", "-r", ping.pcap, "-T", "fields", "-e", "frame.len", "-e", "ip.src", "-e", "icmp.type"],
        text=True,
        stderr=subprocess.DEVNULL,
    )
    rows = [line.split("\t") for line in fields.splitlines()]
    assert len(rows) == len(lines)
    assert {tuple(row) for row in rows} == {("98", "127.0.0.1", "8"), ("98", "127.0.0.1", "0")}


def test_bad_input_is_one_sentence_and_what_mends_it(lab: Lab) -> None:
    """What the first issue lists, as far as it needs a kernel with kprobes."""
    image = ["-d", str(lab.vmlinux)]
    other = next(
        path
        for path in lab.kernel_root.parent.parent.glob("*/root/usr/lib/debug/boot/vmlinux-*")
        if path != lab.vmlinux
    )
    notes = subprocess.check_output(["readelf", "-n", lab.vmlinux], text=True)
    own_id = notes.partition("Build ID: ")[2].split()[0]
    other_notes = subprocess.check_output(["readelf", "-n", other], text=True)
    other_id = other_notes.partition("Build ID: ")[2].split()[0]
    stripped = f"echo 'int x;' | gcc -x c - -shared -nostdlib -Wl,--build-id=0x{own_id} -o /tmp/stripped"
    headers = f"/lib/modules/{lab.release}/build"
    switch = "/sys/kernel/debug/kprobes/enabled"
    inside = offsets(lab)[1] - 1
    cases: list[tuple[int, list[str], dict[str, Any], list[str]]] = [
        (2, ["-i", "ip_rcv_coree", *image], {}, ["ip_rcv_coree", "ip_rcv_core"]),
        (2, ["-i", f"ip_rcv_core+{inside}", *image], {}, ["inside the instruction", "ip_rcv_core+0"]),
        (2, ["-i", "tcp_v4_rcv+*", "--max-probes", "10", *image], {}, ["--max-probes"]),
        (1, ["-i", "ip_rcv", "-d", str(other)], {}, [own_id, other_id]),
        (1, ["-i", "ip_rcv", "-d", "/nope/vmlinux"], {}, ["/nope/vmlinux"]),
        (1, ["-i", "ip_rcv", "-d", "/tmp/stripped"], {"before": stripped}, ["/tmp/stripped", "debug"]),
        (2, ["-i", "ip_rcv", "icmp", "and"], {}, ["^"]),
        # What others of this machine need stays hidden for one run only.
        (
            1,
            ["icmp"],
            {"before": f"mv {headers} {headers}.away", "after": f"mv {headers}.away {headers}"},
            [f"linux-headers-{lab.release}"],
        ),
        (
            1,
            ["icmp"],
            {"before": f"echo 0 > {switch}", "after": f"echo 1 > {switch}"},
            [f"echo 1 > {switch}"],
        ),
    ]
    results = commands(lab, [Command(["--no-tui", "-c", "1", *words], **how) for _, words, how, _ in cases])
    for (status, words, _, named), got in zip(cases, results, strict=True):
        assert got.status == status, (words, got.stderr)
        assert got.stdout == ""
        assert got.stderr.startswith("ktcpdump-tui: "), got.stderr
        assert "Traceback" not in got.stderr
        for text in named:
            assert text in got.stderr, (words, got.stderr)


def test_another_user_is_told_to_be_root(lab: Lab) -> None:
    words = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all"]
    process = lab.run([*words, *program("--no-tui", "-c", "1", "icmp")], env=program_environment())
    out, err = process.communicate(60)
    assert process.wait() == 1
    assert out == b""
    assert err.startswith(b"ktcpdump-tui: ")
    assert b"root" in err
    assert b"sudo" in err


def test_list_and_check_report_and_touch_nothing(lab: Lab) -> None:
    listing, check = commands(
        lab, [Command(["--list", f"{SYMBOL}+*", "-d", str(lab.vmlinux)]), Command(["--check"])]
    )
    assert listing.status == 0
    rows = listing.stdout.splitlines()[1:]
    by_objdump = offsets(lab)
    listed = {int(row.split()[1].partition("+")[2]): row for row in rows if f" {SYMBOL}+" in row}
    # kallsyms knows no sizes: what lies between this function and the next is listed as padding.
    after = [row for offset, row in listed.items() if offset > by_objdump[-1]]
    assert all("left out: padding" in row for row in after)
    assert [offset for offset in listed if offset <= by_objdump[-1]] == by_objdump
    assert re.search(r"^\d+ probes, \d+ refused, \d+ left out$", listing.stderr, re.MULTILINE)
    assert any("ud2" in row and "refused" in row for row in rows)
    assert lab.check_output(f"cat {TRACING}/kprobe_events").strip() == ""
    assert check.status == 0
    assert "MISSING" not in check.stdout
    assert str(lab.release) in check.stdout
