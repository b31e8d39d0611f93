"""JSON lines of another ktcpdump-tui become a trace again, also while they are still coming."""

from __future__ import annotations

import io
import os
import random
import threading
from dataclasses import replace

import numpy as np
import pytest
import synthetic_trace as made
from machine import Machine, random_program, to_rows

from ktcpdump_tui import arch
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.headless.jsonlines import JsonLines
from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.from_json import pump_json
from ktcpdump_tui.trace.json_guess import PacketIds, identity_of, link_of
from ktcpdump_tui.trace.stepping import Stepper
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

SUMMARY = Summary(3, 1, 5, 4, 1, {"lost: ring buffer full": 2}, "-c")
#: Ethernet and IPv4 headers, then ICMP with identifier 7 and a sequence number.
ETHERNET = bytes(12) + b"\x08\x00"


def icmp(sequence, ttl=64, ip_id=1):
    ip = bytes([0x45, 0, 0, 84, 0, ip_id, 0, 0, ttl, 1]) + bytes(10)
    return ip + b"\x08\0\0\0\0\7" + sequence.to_bytes(2, "big") + bytes(56)


def make(path, rows, notes=b"", plan=None, summary=SUMMARY):
    writer = TraceWriter(path)
    writer.write_header(made.header(rows.dtype.itemsize - 216))
    writer.write_plan(plan or made.plan())
    writer.write_notes(notes)
    writer.write_events(rows)
    writer.close(summary)


def lines_of(path) -> bytes:
    text = JsonLines()
    with Trace.open(path) as trace:
        lines = [text.header(trace.header), *(text.event(event) for event in trace.events(1, len(trace)))]
        if trace.summary:
            lines.append(text.summary(trace.summary))
    return "".join(line + "\n" for line in lines).encode()


def test_what_the_lines_say_is_in_the_trace(tmp_path):
    rows = made.rows(300, cpus=2, packets=3)
    rows["seq"][100:] += 4
    notes = b"".join(made.state(n, n, ETHERNET + icmp(n, ip_id=n), 84 + n, link=1) for n in (1, 2, 3))
    make(tmp_path / "a.ktrace", rows, notes)
    assert (
        pump_json(io.BytesIO(lines_of(tmp_path / "a.ktrace")), TraceWriter(tmp_path / "b.ktrace")) == SUMMARY
    )
    with Trace.open(tmp_path / "a.ktrace") as one, Trace.open(tmp_path / "b.ktrace") as other:
        assert other.header == replace(one.header, stack_bytes=0)
        assert other.summary == SUMMARY
        assert len(other) == 300
        for before, after in zip(one.events(1, 300), other.events(1, 300), strict=True):
            for name in ("no", "ts", "cpu", "pid", "comm", "skb", "len", "dev", "netns", "found_by", "regs"):
                assert getattr(after, name) == getattr(before, name), name
            for name in ("lost_before", "packet", "link"):
                assert getattr(after, name) == getattr(before, name), name
            for name in ("address", "symbol", "offset", "module", "call", "inlined_by", "addr2line"):
                assert getattr(after.instruction, name) == getattr(before.instruction, name), name
        assert (
            lines_of(tmp_path / "b.ktrace").split(b"\n")[1:]
            == lines_of(tmp_path / "a.ktrace").split(b"\n")[1:]
        )


def test_frames_are_found_again_from_the_stack_pointer(tmp_path):
    rng = random.Random(5)
    for _ in range(6):
        program = random_program(rng)
        log = Machine(rng, program).run()
        rows = to_rows(log)
        rows["skb"] = 0xFFFF888000000000
        # At the entry CFA = rsp + 8; later a frame of 16 bytes is below the return address.
        entry = np.array([program.plan[event.insn].offset == 0 for event in log])
        rows["regs"][:, arch.REGISTERS.index("rsp")] = rows["cfa"] - np.where(entry, 8, 24).astype("<u8")
        make(tmp_path / "a.ktrace", rows, plan=program.plan)
        pump_json(io.BytesIO(lines_of(tmp_path / "a.ktrace")), TraceWriter(tmp_path / "b.ktrace"))
        with Trace.open(tmp_path / "b.ktrace") as trace:
            assert np.array_equal(trace.heads(1, len(trace))["cfa"], rows["cfa"])
            assert set(trace.heads(1, len(trace))["packet"].tolist()) == {1}
            assert Stepper(trace).stepi(1) is not None


def test_lines_are_shown_while_more_are_coming(tmp_path):
    make(tmp_path / "a.ktrace", made.rows(50))
    lines = lines_of(tmp_path / "a.ktrace").splitlines(keepends=True)
    read, write = os.pipe()
    path = tmp_path / "b.ktrace"
    with os.fdopen(write, "wb", buffering=0) as out, os.fdopen(read, "rb") as into:
        thread = threading.Thread(target=pump_json, args=(into, TraceWriter(path)))
        thread.start()
        out.write(b"".join(lines[:11]) + lines[11][:40])
        trace = None
        while trace is None or trace.refresh() < 10:
            try:
                trace = trace or Trace.open(path)
            except UserError:
                continue  # the header is on its way
        assert len(trace) == 10
        assert trace.event(10).instruction.symbol == "function_0"
        out.write(lines[11][40:] + b"".join(lines[12:]))
        out.close()
        thread.join(30)
        assert trace.refresh() == 50
        assert trace.finished
        trace.close()


def test_lines_without_header_or_summary_are_a_trace_that_was_cut_off(tmp_path):
    make(tmp_path / "a.ktrace", made.rows(50))
    lines = lines_of(tmp_path / "a.ktrace").splitlines(keepends=True)
    assert pump_json(io.BytesIO(b"\n".join(lines[3:9])), TraceWriter(tmp_path / "b.ktrace")) is None
    with Trace.open(tmp_path / "b.ktrace") as trace:
        assert (len(trace), trace.finished, trace.header.release) == (6, False, "")
    assert pump_json(io.BytesIO(b""), TraceWriter(tmp_path / "c.ktrace")) is None
    assert not len(Trace.open(tmp_path / "c.ktrace"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: b"{", "line 5 of standard input is no line of a trace"),
        (lambda line: b"[1, 2]", "not a JSON object"),
        (lambda line: b"[" * 100_000, "line 5 .*nests"),
        (lambda line: b"\xff\xfe", "line 5"),
        (lambda line: line.replace(b'"ts":', b'"ts":"x","_":'), "ts is 'x'"),
        (lambda line: line.replace(b'"cpu":', b'"cpu":-1,"_":'), "cpu is -1"),
        (lambda line: line.replace(b'"pc":', b'"pc":null,"_":'), "pc is None"),
        (lambda line: line.replace(b'"pc":"', b'"pc":"0xffffffffffffffffff'), "pc is"),
        (lambda line: line.replace(b'"regs":', b'"regs":[1],"_":'), "regs is no object"),
        (lambda line: line.replace(b'"packet":', b'"packet":"0","_":'), "fromhex"),
        (lambda line: line.replace(b'"found_by":', b'"found_by":"luck","_":'), "found_by is 'luck'"),
        (lambda line: line.replace(b'"inlined_by":', b'"inlined_by":[{}],"_":'), "inlined_by"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, change, message):
    make(tmp_path / "a.ktrace", made.rows(50), made.state(1, 1))
    lines = lines_of(tmp_path / "a.ktrace").splitlines(keepends=True)
    lines[4] = change(lines[4].rstrip(b"\n")) + b"\n"
    with pytest.raises(UserError, match=message) as raised:
        pump_json(io.BytesIO(b"".join(lines)), TraceWriter(tmp_path / "b.ktrace"))
    assert "line 5" in raised.value.message
    assert "\n" not in raised.value.message
    with Trace.open(tmp_path / "b.ktrace") as trace:
        assert len(trace) == 3
        assert not trace.finished


def test_an_address_is_another_packet_when_its_way_begins_again():
    ids = PacketIds()
    first, inside = 0x1000, 0x1004
    assert ids.of(0xA0, first, 10, icmp(1)) == 1
    assert ids.of(0xA0, inside, 20, icmp(1, ttl=63)) == 1
    assert ids.of(0xB0, first, 30, icmp(2)) == 2
    assert ids.of(0xA0, first, 40, icmp(1, ttl=62)) == 1  # routed through the same function once more
    assert ids.of(0xA0, inside, 50, icmp(9)) == 1  # decapsulated on its way
    assert ids.of(0xA0, first, 60, icmp(3)) == 3
    assert ids.of(0xA0, first, 2_000_000_000, icmp(3)) == 4
    assert ids.of(0, first, 1, b"") == 0


def test_packets_are_recognised():
    assert link_of(ETHERNET + icmp(1)) == "ethernet"
    assert link_of(icmp(1)) == "raw"
    assert link_of(bytes(12) + b"\x81\0" + bytes(30)) == "ethernet"
    assert identity_of(icmp(1)) == identity_of(ETHERNET + icmp(1, ttl=3))
    assert identity_of(icmp(1)) != identity_of(icmp(2))
    tcp = bytes([0x60]) + bytes(5) + bytes([6, 64]) + bytes(32) + b"\0\1\0\2" + b"\0\0\0\5" + bytes(12)
    assert identity_of(tcp) != identity_of(tcp[:47] + b"\6" + tcp[48:])
    assert identity_of(b"") == identity_of(b"")
