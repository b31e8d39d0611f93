"""Capture files, read back by tcpdump and tshark."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.export import export, open_export
from ktcpdump_tui.model import Event, Flow, FoundBy, Instruction, SourceLine, TraceHeader
from ktcpdump_tui.trace.layout import FATES, FREE_BODY, NOTE_HEADER, NoteKind
from ktcpdump_tui.trace.pcap import PcapWriter, wire_length
from ktcpdump_tui.trace.pcapng import PcapngWriter
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

DATA = Path(__file__).parents[2] / "data"

ADDRESSES = bytes.fromhex("0200000000020200000000 01".replace(" ", ""))
ICMP = (
    bytes.fromhex("4500005400010000400126a60a0000010a000002") + b"\x08\0" + bytes(2) + b"\0\1\0\1" + bytes(56)
)
ICMP6 = bytes.fromhex("6000000000103a40") + bytes(15) + b"\1" + bytes(15) + b"\2" + b"\x80\0" + bytes(14)
FRAME = ADDRESSES + b"\x08\0" + ICMP
TAGGED = ADDRESSES + b"\x81\0\0\5\x08\0" + ICMP
ARP = (
    b"\xff" * 6
    + ADDRESSES[6:]
    + bytes.fromhex("080600010800060400010200000000010a0000010000000000000a000002")
)

INSTRUCTION = Instruction(
    0, 0xFFFFFFFF81000010, "ip_rcv_core", 16, source=SourceLine("net/ipv4/ip_input.c", 456)
)
HEADER = TraceHeader(
    version="0.1.0",
    release="6.12.0-test",
    machine="x86_64",
    build_id=None,
    command_line=("ktcpdump-tui", "-w", "f.pcapng", "icmp"),
    clock_offset=1_700_000_000_000_000_000,
    started=0,
    slide=0,
    expression="icmp or arp",
    snaplen=256,
)
EVENT = Event(
    no=1,
    ts=5_000_000_123,
    cpu=1,
    pid=0,
    comm="swapper/1",
    instruction=INSTRUCTION,
    packet_id=7,
    skb=0xFFFF888100000000,
    len=84,
    dev="eth0",
    netns=4026531840,
    found_by=FoundBy.FRAME,
    packet=FRAME,
    link="ethernet",
)
RAW = replace(EVENT, no=2, ts=EVENT.ts + 1, packet=ICMP, link="raw")


def synthetic_free(packet: int, ts: int) -> bytes:
    """The note that a packet was dropped."""
    body = np.array([(0xFFFF888100000000, 0, 2, FATES.index("dropped"))], FREE_BODY).tobytes()
    body += bytes(-len(body) % 8)
    head = np.zeros(1, NOTE_HEADER)
    head["kind"], head["size"], head["ts"], head["packet"] = (
        NoteKind.FREE, NOTE_HEADER.itemsize + len(body), ts, packet,
    )  # fmt: skip
    return head.tobytes() + body


def empty_trace(folder: Path, header: TraceHeader = HEADER) -> Trace:
    """A trace that says HEADER of itself: the events are given by hand."""
    writer = TraceWriter(folder / "empty.ktrace")
    writer.write_header(header)
    writer.write_plan([INSTRUCTION])
    writer.close(None)
    return Trace.open(folder / "empty.ktrace")


def written(path: Path, events: list[Event], trace: Trace | None = None) -> Path:
    writer = open_export(str(path))
    with trace or empty_trace(path.parent) as source:
        writer.begin(source)
        writer.events(events)
        writer.end(None)
    return path


def tcpdump(path: Path, *options: str) -> list[str]:
    run = subprocess.run(["tcpdump", "-r", path, "-nn", *options], check=True, capture_output=True, text=True)
    return run.stdout.splitlines()


def tshark(path: Path, *fields: str) -> list[dict[str, str]]:
    options = [option for field in fields for option in ("-e", field)]
    run = subprocess.run(
        ["tshark", "-r", path, "-n", "-T", "fields", "-E", "occurrence=a", "-E", "separator=/t", *options],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "TZ": "UTC"},
    )
    assert "damaged" not in run.stderr
    return [dict(zip(fields, line.split("\t"), strict=True)) for line in run.stdout.splitlines()]


@pytest.fixture(params=["pcap", "pcapng"])
def target(request, tmp_path) -> Path:
    return tmp_path / f"capture.{request.param}"


def test_tcpdump_and_tshark_see_each_event_as_a_frame(target):
    events = [EVENT, RAW, replace(EVENT, packet=ARP, len=28), replace(RAW, packet=ICMP6, len=56)]
    written(target, events)
    lines = tcpdump(target)
    assert ["ICMP echo request" in line for line in lines[:2]] == [True, True]
    assert "ARP, Request who-has 10.0.0.2 tell 10.0.0.1" in lines[2]
    assert "IP6 ::1 > ::2: ICMP6, echo request" in lines[3]
    seen = tshark(target, "frame.number", "frame.protocols", "icmp.type", "icmpv6.type")
    assert [row["icmp.type"] + row["icmpv6.type"] for row in seen] == ["8", "8", "", "128"]


def test_times_are_wall_clock_nanoseconds(target):
    written(target, [EVENT, RAW])
    times = [row["frame.time_epoch"] for row in tshark(target, "frame.time_epoch")]
    assert times == ["1700000005.000000123", "1700000005.000000124"]
    assert tcpdump(target, "-tt", "--nano")[0].startswith("1700000005.000000123 ")


@pytest.mark.parametrize(
    ("event", "length", "why"),
    [
        (replace(EVENT, len=98), 98, "skb->data at the Ethernet header"),
        (replace(EVENT, len=84), 98, "at the IP header"),
        (replace(EVENT, len=64), 98, "at the ICMP header"),
        (replace(EVENT, packet=FRAME[:40], len=84), 98, "cut by the snap length"),
        (replace(EVENT, packet=TAGGED, len=84), 102, "with a VLAN tag"),
        (replace(RAW, len=84), 84, "no link-layer header"),
        (replace(RAW, packet=ICMP[:30], len=64), 84, "no link-layer header, cut"),
        (replace(RAW, packet=ICMP6, len=16), 56, "IPv6"),
        (replace(EVENT, packet=ARP, len=28), 42, "ARP"),
        (replace(EVENT, packet=ARP, len=60), 60, "ARP with padding"),
        (replace(EVENT, packet=FRAME, len=110), 110, "IP with padding"),
        (replace(RAW, packet=b"\x45\0\xff\xff" + ICMP[4:], len=84), 84, "a length that is a lie"),
        (replace(RAW, packet=b"\x45\0\0\0" + ICMP[4:], len=100000), 100000, "BIG TCP states none"),
        (replace(EVENT, packet=FRAME[:13], len=90), 90, "less than an Ethernet header"),
        (replace(EVENT, packet=FRAME, len=None), 98, "unknown skb->len"),
        (replace(EVENT, packet=b"", len=84), 84, "no bytes at all"),
    ],
)
def test_the_wire_length_counts_from_the_first_byte(event, length, why):
    assert wire_length(event) == length, why


def test_snapped_packets_keep_their_length(target):
    written(target, [replace(EVENT, packet=FRAME[:40], len=84)])
    (row,) = tshark(target, "frame.len", "frame.cap_len")
    assert row == {"frame.len": "98", "frame.cap_len": "40"}


def test_packets_without_bytes_are_frames_too(target):
    # Frame numbers stay event numbers.
    written(target, [EVENT, replace(RAW, packet=b"", len=84), EVENT])
    assert [row["frame.cap_len"] for row in tshark(target, "frame.cap_len")] == ["98", "0", "98"]


def test_raw_packets_get_an_ethernet_header_of_zeros(target):
    written(target, [EVENT, RAW])
    rows = tshark(target, "eth.src", "eth.dst", "frame.len", "ip.len")
    assert [row["eth.src"] for row in rows] == ["02:00:00:00:00:01", "00:00:00:00:00:00"]
    assert {row["frame.len"] for row in rows} == {"98"}
    assert {row["ip.len"] for row in rows} == {"84"}


def test_pcapng_has_an_interface_per_function_device_and_namespace(tmp_path):
    other = replace(INSTRUCTION, symbol="veth_xmit", module="veth")
    cold = replace(INSTRUCTION, symbol="ip_rcv_core.cold")
    events = [
        EVENT,
        RAW,
        replace(EVENT, dev="veth1", instruction=other),
        replace(EVENT, netns=4026532222),
        replace(EVENT, instruction=cold),
        RAW,
        replace(EVENT, dev=None, netns=None),
    ]
    path = written(tmp_path / "f.pcapng", events)
    rows = tshark(path, "frame.interface_id", "frame.interface_name", "frame.interface_description")
    assert [row["frame.interface_id"] for row in rows] == ["0", "1", "2", "3", "0", "1", "4"]
    names = [row["frame.interface_name"] for row in rows]
    assert names == ["ip_rcv_core", "ip_rcv_core", "veth_xmit", *["ip_rcv_core"] * 4]
    said = [row["frame.interface_description"] for row in rows]
    assert said[0] == "device eth0, network namespace 4026531840"
    assert said[1].endswith("the Ethernet header is made up")
    assert said[2] == "device veth1, network namespace 4026531840, module veth"
    assert said[3] == "device eth0, network namespace 4026532222"
    assert said[6] == "no device"


def test_the_last_frame_of_a_dropped_packet_says_why(tmp_path):
    """A datagram to a port nobody listens on, recorded in a stock kernel."""
    with Trace.open(DATA / "udp-drop-6.12.ktrace") as trace:
        dropped = [packet for packet in trace.packets() if packet.fate == "dropped"]
        last = {trace.packet_span(packet.id)[1]: packet for packet in dropped}
        path = tmp_path / "f.pcapng"
        assert export(trace, path) == len(trace)
    rows = tshark(path, "frame.number", "frame.comment")
    said = {
        int(row["frame.number"]): row["frame.comment"] for row in rows if "dropped" in row["frame.comment"]
    }
    assert said.keys() == last.keys()
    (packet,) = dropped
    (comment,) = said.values()
    assert packet.drop_reason == "NO_SOCKET"
    assert comment.endswith(f",dropped: NO_SOCKET at {packet.drop_symbol} {packet.drop_line}")
    found = subprocess.run(
        ["tshark", "-r", path, "-Y", 'frame.comment contains "NO_SOCKET"', "-Tfields", "-e", "udp.dstport"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert found.stdout.split() == ["4242"]


def test_a_drop_that_is_heard_of_after_the_last_event_is_told(tmp_path):
    """While a trace grows, the end of a packet may be committed after its last event."""
    with Trace.open(DATA / "udp-drop-6.12.ktrace") as source:
        (packet,) = [one for one in source.packets() if one.fate == "dropped"]
        until = source.packet_span(packet.id)[1]
        growing = TraceWriter(tmp_path / "growing.ktrace")
        growing.write_header(source.header)
        growing.write_plan(source.plan)
        growing.write_events(source.rows(1, until))
        growing.flush()
        with Trace.open(tmp_path / "growing.ktrace") as trace:
            writer = open_export(tmp_path / "f.pcapng")
            writer.begin(trace)
            writer.events(list(trace.events(1, until)))
            growing.write_notes(synthetic_free(packet.id, packet.freed_at))
            growing.flush()
            trace.refresh()
            writer.events(())
            size = (tmp_path / "f.pcapng").stat().st_size
            writer.end(None)
            assert (tmp_path / "f.pcapng").stat().st_size == size
        growing.close(None)
    assert "dropped: " in tshark(tmp_path / "f.pcapng", "frame.comment")[until - 1]["frame.comment"]


def test_pcapng_comments_say_where_in_the_code_the_packet_was(tmp_path):
    call = replace(INSTRUCTION, call="kfree_skb_reason", flow=Flow.CALL, offset=99, source=None)
    lossy = replace(RAW, instruction=call, lost_before=3, cpu=1, packet_id=8)
    path = written(tmp_path / "f.pcapng", [EVENT, lossy])
    rows = tshark(path, "frame.comment", "frame.packet_id")
    assert rows[0]["frame.comment"] == "ip_rcv_core+16 net/ipv4/ip_input.c:456"
    assert rows[1]["frame.comment"].split(",") == [
        "ip_rcv_core+99 ??:0 // CALL kfree_skb_reason",
        "3 events lost before this one on CPU 1",
    ]
    assert [row["frame.packet_id"] for row in rows] == ["7", "8"]


def test_pcapng_says_how_it_was_made(tmp_path):
    path = written(tmp_path / "f.pcapng", [EVENT])
    info = subprocess.run(["capinfos", path], check=True, capture_output=True, text=True).stdout
    assert "Linux 6.12.0-test" in info
    assert "ktcpdump-tui 0.1.0" in info
    assert "ktcpdump-tui -w f.pcapng icmp" in info
    assert "icmp or arp" in info
    assert "Time precision = nanoseconds (9)" in info


@pytest.mark.parametrize("name", ["ping-6.1", "ping-6.12", "udp-drop-6.12"])
def test_recorded_traces_convert(target, name):
    with Trace.open(DATA / f"{name}.ktrace") as trace:
        events = list(trace.events(trace.first_no, len(trace)))
        written(target, events, trace)
    assert len(tcpdump(target)) == len(events)
    rows = tshark(target, "frame.len", "frame.cap_len", "_ws.malformed", "ip.len", "frame.time_epoch")
    assert len(rows) == len(events)
    assert not any(row["_ws.malformed"] for row in rows)
    offset = trace.header.clock_offset
    assert [row["frame.time_epoch"] for row in rows] == [
        f"{(e.ts + offset) // 10**9}.{(e.ts + offset) % 10**9:09}" for e in events
    ]
    for row in rows:  # what the outermost IP header states, plus 14 bytes of real or made-up Ethernet
        if row["ip.len"]:
            assert int(row["frame.len"]) >= int(row["ip.len"].split(",")[0])


def test_each_batch_can_be_read_at_once(tmp_path):
    read, write = os.pipe()
    with open(read, "rb") as source, open(write, "wb") as sink:
        writer = PcapWriter(sink)
        writer.begin(empty_trace(tmp_path))
        writer.events([EVENT])
        assert len(source.read1()) == 24 + 16 + len(FRAME)
        writer.end(None)


def test_standard_output_stays_open(capfdbinary):
    program = (
        "import sys; from ktcpdump_tui.export import open_export\n"
        "w = open_export('-'); w.end(None); print('after')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "after\n"


def test_a_terminal_gets_no_capture_file():
    program = (
        "from ktcpdump_tui.errors import UsageError; from ktcpdump_tui.export import open_export\n"
        "try: open_export('-')\n"
        "except UsageError as error: print('refused', error.status)"
    )
    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", program], stdout=follower, check=True)
    os.close(follower)
    assert b"refused 2" in os.read(leader, 1000)
    os.close(leader)


def test_a_file_that_cannot_be_created_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="No such file or directory") as caught:
        open_export(str(tmp_path / "none" / "f.pcap"))
    assert not isinstance(caught.value, UsageError)


@pytest.mark.parametrize("kind", [PcapWriter, PcapngWriter])
def test_a_full_disk_is_a_sentence(kind, tmp_path):
    with open("/dev/full", "wb") as full:
        writer = kind(full, "f.pcap", close=False)
        with pytest.raises(UserError, match=r"cannot write to f\.pcap: No space left on device"):
            writer.begin(empty_trace(tmp_path))
        with pytest.raises(OSError, match="No space"):
            full.close()


def test_a_reader_that_went_away_is_told_apart(tmp_path):
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb", buffering=0) as sink:
        writer = PcapWriter(sink, close=False)  # type: ignore[arg-type]
        with pytest.raises(BrokenPipeError):
            writer.begin(empty_trace(tmp_path))


def test_names_and_comments_of_any_kind_are_readable(tmp_path):
    symbol = replace(INSTRUCTION, symbol="x" * 70000)
    event = replace(EVENT, instruction=symbol, dev="ü\udcff")
    path = written(tmp_path / "f.pcapng", [event, EVENT])
    rows = tshark(path, "frame.interface_description", "frame.number")
    assert [row["frame.number"] for row in rows] == ["1", "2"]
    assert rows[0]["frame.interface_description"].startswith("device ü?,")


def test_both_formats_go_to_any_stream(tmp_path):
    for kind, magic in ((PcapWriter, b"\x4d\x3c\xb2\xa1"), (PcapngWriter, b"\x0a\x0d\x0d\x0a")):
        stream = io.BytesIO()
        writer = kind(stream, close=False)
        writer.begin(empty_trace(tmp_path))
        assert stream.getvalue().startswith(magic)
