"""``--compare`` in words, on flows recorded in a stock kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ktcpdump_tui.headless.comparison import comparison_lines
from ktcpdump_tui.trace.compare import compare
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

DATA = Path(__file__).parents[2] / "data"
PING = DATA / "ping-6.12.ktrace"
FOUR = DATA / "four-ways-6.12.ktrace"

#: The only line of net/ipv4/ip_forward.c (of 6.12) that the test below needs, at its place.
TTL_TEST = {118: "\tif (ip_hdr(skb)->ttl <= 1) /* a made-up comment */"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ktcpdump_tui", *words], capture_output=True, text=True, check=False
    )


def test_packets_that_took_the_same_path_are_said_to() -> None:
    with Trace.open(PING) as trace:
        assert comparison_lines(compare(trace, 1, 4)) == [
            "packet 1: 118 events, consumed",
            "packet 4: 118 events, consumed",
            "118 of packet 1's events are at lines that packet 4 executed as well",
            "both took the same path",
        ]


def test_a_parting_is_told_with_both_sides(tmp_path: Path) -> None:
    """The recorded ping again, its second request without its last third."""
    with Trace.open(PING) as source:
        rows = source.rows(1, len(source)).copy()
        second = (rows["packet"] == 4).nonzero()[0]
        kept = [number for number in range(len(rows)) if number not in set(second[80:].tolist())]
        writer = TraceWriter(tmp_path / "cut.ktrace")
        writer.write_header(source.header)
        writer.write_plan(source.plan)
        writer.write_events(rows[kept])
        writer.close(source.summary)
    with Trace.open(tmp_path / "cut.ktrace") as trace:
        lines = comparison_lines(compare(trace, 1, 4))
    assert lines[1] == "packet 4: 80 events, still on its way at the end"
    assert any(line.startswith("  after    events 80 and ") and "ip_rcv_core+" in line for line in lines)
    assert any(line.startswith("  packet 1: 38 events of its own, 81 to 118") for line in lines)
    assert any(line.endswith("goes straight on") for line in lines)
    assert lines[-1] == "  joined   never"


def test_the_line_that_dropped_is_told_with_what_it_compared(tmp_path: Path) -> None:
    """Packet 3 of the flow has a TTL of 1: the condition's value, and what the machine compared."""
    file = tmp_path / "net/ipv4/ip_forward.c"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(TTL_TEST.get(number, "") for number in range(1, 200)))
    result = run("-r", str(FOUR), "--compare", "1", "3", "-s", str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[1].startswith("packet 3: 204 events, dropped: IP_INHDR at ip_forward+")
    at = next(number for number, line in enumerate(lines) if "ip_forward.c:118 in ip_forward" in line)
    assert lines[at + 1].strip() == "if (ip_hdr(skb)->ttl <= 1)"
    assert lines[at + 2].strip().startswith("cmpb   $0x1,")
    rows = {line.split()[0]: line.split()[1:] for line in lines[at + 4 : at + 6]}
    assert rows["ip_hdr(skb)->ttl"] == ["64", "1"]
    assert ["0x40", "0x1"] in rows.values()
    assert lines[-1] == "  joined   never"


@pytest.mark.parametrize(("packet", "drop", "line"), [
    (2, "NETFILTER_DROP", "net/netfilter/nf_tables_core.c:92 in nft_cmp_fast_eval"),
    (4, "IP_CSUM", "net/ipv4/ip_input.c:511 in ip_rcv_core"),
])  # fmt: skip
def test_the_deciding_line_is_named_without_source_text(packet: int, drop: str, line: str) -> None:
    result = run("-r", str(FOUR), "--compare", "1", str(packet))
    assert f"dropped: {drop} at " in result.stdout
    first = next(each for each in result.stdout.splitlines() if each.startswith("  after "))
    assert first.endswith(line)


def test_packets_of_two_traces_are_compared() -> None:
    same = run("-r", str(PING), "--compare", "1", f"{PING}:4")
    assert same.stdout.splitlines()[-1] == "both took the same path"
    assert same.stdout.startswith("packet 1 of ping-6.12.ktrace: 118 events")
    other = run("-r", str(PING), "--compare", "1", f"{DATA / 'ping-6.1.ktrace'}:1")
    assert "the kernels differ: lines are compared by their distance" in other.stdout
    assert other.returncode == 0


@pytest.mark.parametrize(("words", "status", "message"), [
    (["1", f"{PING}:99"], 2, "there is no packet 99 in "),
    (["1", "none.ktrace:1"], 1, "cannot read the trace none.ktrace"),
    (["x.ktrace:1", "1"], 2, "the first packet is one of -r's trace"),
    (["1", "x.ktrace:"], 2, "--compare: '' is not a whole number"),
])  # fmt: skip
def test_wrong_packets_are_one_sentence(words: list[str], status: int, message: str) -> None:
    result = run("-r", str(PING), "--compare", *words)
    assert result.returncode == status
    assert message in result.stderr
    assert "Traceback" not in result.stderr
