"""Variables with known answers: a ping, a TCP handshake and a packet in nftables, on real kernels.

What is expected comes from what was sent, from the bytes of each packet, and from the location lists as
pyelftools reads them: at every event where a variable has a place, its value has to be the right one.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ktcpdump_tui.debuginfo.image import DebugImage
from tests.kernel.harness import Captured, capture
from tests.kernel.locations import places_of
from tests.kernel.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.lab import Lab

PAYLOAD, TTL, TOS = 200, 17, 8
#: IP header, ICMP header, payload.
LENGTH = 20 + 8 + PAYLOAD

CLIENT, SERVER, FIRST = 40001, 8080, 305419896
SYN, ACK = 0x02, 0x10
NUMBER_FILE = "/tmp/known-answers-number"
HANDSHAKE = f"python3 {{folder}}/scenes/handshake.py {NUMBER_FILE} {CLIENT} {SERVER} {FIRST}"

#: What is read of each segment in two ways: by the function's own variables, and from the packet's headers.
TCP_WATCHES = (
    "th->source", "th->dest", "th->seq", "th->ack_seq", "th->syn", "th->ack", "iph->saddr", "iph->ttl",
    "tcp_hdr(skb)->seq", "((struct iphdr *)skb_network_header(skb))->daddr", "skb->dev->name",
    "skb_shinfo(skb)->nr_frags", "skb->protocol", "ntohs(th->dest) == htons(8080)", "skb->len > 1500",
    "net", "pkt", "pkt->state->hook", "pkt->thoff", "tcp_hdr(pkt->skb)->dest", "stackptr",
    "regs.verdict.code",
)  # fmt: skip


@pytest.fixture(scope="module")
def image(lab: Lab) -> Iterator[DebugImage]:
    with DebugImage.open(lab.vmlinux) as opened:
        yield opened


class Events:
    """The events of one function, and where its variables have a place."""

    def __init__(self, rows: list[dict[str, Any]], function: str, image: DebugImage) -> None:
        self.function = function
        self.rows = [one for one in rows if one.get("symbol") == function]
        self._slide = rows[0]["slide"]
        self._image = image

    def own(self) -> list[dict[str, Any]]:
        """Return the events that are not in a function inlined into it."""
        return [one for one in self.rows if one["inlined_by"][0]["function"] == self.function]

    def in_scope(self, variable: str) -> list[dict[str, Any]]:
        """Return the function's own events at which the compiler kept the variable."""
        places = places_of(self._image, self.function, variable)
        found = [
            one
            for one in self.own()
            if any(low <= int(one["pc"], 16) - self._slide < high for low, high in places)
        ]
        assert found, variable
        return found


@pytest.fixture(scope="module")
def ping(lab: Lab) -> Captured:
    """Two echo requests through ip_rcv_core, interrupted as by Ctrl-C when the ping has ended."""
    watches = ("iph->ttl", "iph->tos", "skb->len", "ntohs(iph->tot_len) - 1", "iph->tot_len", "iph->saddr")
    return capture(
        lab,
        [
            *("--json", "--locals", "-i", "ip_rcv_core+*", "-d", str(lab.vmlinux)),
            *(word for one in watches for word in ("--watch", one)),
            "icmp[icmptype] == icmp-echo",
        ],
        traffic=f"ping -c 2 -s {PAYLOAD} -t {TTL} -Q {TOS} 127.0.0.1",
        timeout=300,
    )


def test_ctrl_c_ends_with_counts(ping: Captured) -> None:
    header, *rows, summary = ping.json
    assert ping.status == 0
    assert len(rows) == summary["events"] > 0
    assert summary["packets"] == 2  # the clones made of them are counted apart
    assert summary["ended_by"] == "user"
    assert f"{len(rows)} events captured\n2 packets" in ping.stderr
    executed = {(one["file"], one["line"]) for one in summary["lines"] if one["state"] == "executed"}
    assert executed == {(row["file"], row["line"]) for row in rows}
    assert header["command_line"][-1] == "icmp[icmptype] == icmp-echo"


def test_a_ping_has_the_values_it_was_sent_with(lab: Lab, ping: Captured, image: DebugImage) -> None:
    events = Events(ping.json, "ip_rcv_core", image)
    assert len(events.rows) > 200
    # SKB_DROP_REASON_NOT_SPECIFIED; SKB_CONSUMED took its number in 6.3
    unspecified = 2 if lab.release.startswith("6.12") else 1
    expected = {
        "iph": {"iph->ttl": TTL, "iph->tos": TOS, "iph->tot_len": LENGTH, "iph->saddr": "127.0.0.1"},
        "skb": {"skb->len": LENGTH},
    }
    for variable, answers in expected.items():
        for expression, answer in answers.items():
            assert {one["watch"][expression] for one in events.in_scope(variable)} == {answer}, expression
            # where an inlined function has a variable of that name, its value is no other packet's
            assert {one["watch"][expression] for one in events.rows} <= {answer, None}, expression
    assert {one["watch"]["skb->len"] for one in events.rows} == {LENGTH}, "the packet itself is always known"
    for variable, answer in (("len", LENGTH), ("drop_reason", unspecified)):
        inside = events.in_scope(variable)
        assert {one["locals"][variable] for one in inside} == {answer}, variable
        numbers = {one["no"] for one in inside}
        outside = [one for one in events.own() if one["no"] not in numbers]
        assert {one["locals"][variable] for one in outside} <= {None}, f"{variable} is not kept there"
    assert {one["watch"]["ntohs(iph->tot_len) - 1"] for one in events.in_scope("iph")} == {LENGTH - 1}


@pytest.fixture(scope="module")
def connection(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], int]:
    """A handshake through an nftables chain; (JSON rows, the server's first sequence number).

    The guest records; values are worked out from the trace, outside, where Python is not emulated.
    """
    path = tmp_path_factory.mktemp("connection") / "handshake.ktrace"
    lab.check_output("modprobe nf_tables && ip link set lo up")
    lab.check_output(
        "nft add table ip answers && nft add chain ip answers sub && "
        "nft add chain ip answers in '{ type filter hook input priority 0; }' && "
        f"nft add rule ip answers in tcp dport {SERVER} jump sub && "
        "nft add rule ip answers sub counter accept"
    )
    try:
        words = ("-i", "tcp_v4_rcv+*,nft_do_chain+*,nf_hook_slow+*,ip_local_deliver", "--stack", "1024")
        selection = f"tcp port {CLIENT} and port {SERVER}"
        traffic = HANDSHAKE.format(folder=__file__.rpartition("/")[0])
        with recorded(lab, path, (*words, selection), traffic=traffic, timeout=400):
            number = int(lab.check_output(["cat", NUMBER_FILE]))
        counted = lab.check_output("nft list chain ip answers sub")
        assert "packets 2 " in counted or "packets 3 " in counted or "packets 4 " in counted, counted
    finally:
        lab.check_output("nft delete table ip answers")
    watches = [word for one in TCP_WATCHES for word in ("--watch", one)]
    replayed = subprocess.run(
        [sys.executable, "-m", "ktcpdump_tui", "-r", path, "--json", "--locals", *watches],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in replayed.stdout.splitlines()], number


def header_of(row: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """Return (source port, destination port, sequence number, acknowledged number, flags) on the wire."""
    packet = bytes.fromhex(row["packet"])
    at = 14 if packet[12:14] == b"\x08\x00" else 0
    source, destination, sequence, acknowledged, flags = struct.unpack_from(">HHIIxB", packet, at + 20)
    return source, destination, sequence, acknowledged, flags


@pytest.mark.long
def test_a_handshake_has_its_ports_and_numbers(
    connection: tuple[list[dict[str, Any]], int], image: DebugImage
) -> None:
    rows, number = connection
    events = Events(rows, "tcp_v4_rcv", image)
    expected = {
        SYN: (CLIENT, SERVER, FIRST, 0),
        SYN | ACK: (SERVER, CLIENT, number, FIRST + 1),
        ACK: (CLIENT, SERVER, FIRST + 1, number + 1),
    }
    segments = {flags: [one for one in events.rows if header_of(one)[4] == flags] for flags in expected}
    # later acknowledgements (of the end of the connection) have other numbers
    segments[ACK] = [one for one in segments[ACK] if header_of(one)[:2] == (CLIENT, SERVER)]
    first = min(int(one["skb"], 16) for one in segments[ACK] if header_of(one)[2] == FIRST + 1)
    segments[ACK] = [one for one in segments[ACK] if int(one["skb"], 16) == first]
    in_scope = {variable: events.in_scope(variable) for variable in ("th", "iph")}
    for flags, (source, destination, sequence, acknowledged) in expected.items():
        assert {header_of(one)[:4] for one in segments[flags]} == {
            (source, destination, sequence, acknowledged)
        }
        answers = {
            "th->source": source,
            "th->dest": destination,
            "th->seq": sequence,
            "th->ack_seq": acknowledged,
            "th->syn": int(bool(flags & SYN)),
            "th->ack": int(bool(flags & ACK)),
            "iph->saddr": "127.0.0.1",
            "iph->ttl": 64,
            "ntohs(th->dest) == htons(8080)": 0,
        }
        for expression, answer in answers.items():
            variable = "iph" if expression.startswith("iph") else "th"
            numbers = {one["no"] for one in segments[flags]}
            kept = [one for one in in_scope[variable] if one["no"] in numbers]
            assert len(kept) > 5, (expression, flags, len(kept))
            assert {one["watch"][expression] for one in kept} == {answer}, (expression, flags)
            assert {one["watch"][expression] for one in segments[flags]} <= {answer, None}, expression
        everywhere = {
            "tcp_hdr(skb)->seq": sequence,
            "((struct iphdr *)skb_network_header(skb))->daddr": "127.0.0.1",
            "skb->dev->name": '"lo"',
            "skb_shinfo(skb)->nr_frags": 0,
            "skb->protocol": 0x0800,
            "skb->len > 1500": 0,
        }
        for expression, answer in everywhere.items():
            known = [one["watch"][expression] for one in segments[flags]]
            assert set(known) <= {answer, None}, (expression, set(known))
            # the segment gives up its device, and at its end its headers' places, before the function returns
            assert known.count(answer) > 20, expression


#: include/uapi/linux/netfilter.h and nf_tables.h: the verdicts that the two rules give, as u32.
ACCEPT, CONTINUE, JUMP = 1, 0xFFFFFFFF, 0xFFFFFFFD
LOCAL_IN = 1


@pytest.mark.long
def test_a_packet_in_nftables_jumps_to_the_chain_that_accepts_it(
    connection: tuple[list[dict[str, Any]], int],
) -> None:
    rows, _ = connection
    inside = [one for one in rows if one.get("symbol") == "nft_do_chain"]
    to_server = [one for one in inside if header_of(one)[1] == SERVER]
    to_client = [one for one in inside if header_of(one)[1] == CLIENT]
    assert len(to_server) > 200
    assert len(to_client) > 50
    assert {one["module"] for one in inside} == {"nf_tables"}
    assert all(one["file"] and one["inlined_by"][-1]["function"] == "nft_do_chain" for one in inside)

    def seen(some: list[dict[str, Any]], expression: str) -> set[Any]:
        return {one["watch"][expression] for one in some} - {None}

    # --stack reaches struct nft_pktinfo, which is the caller's, from all over the function.
    for expression, answer in (("pkt->state->hook", LOCAL_IN), ("pkt->thoff", 20)):
        assert seen(inside, expression) == {answer}
    assert seen(to_server, "tcp_hdr(pkt->skb)->dest") == {SERVER}
    assert seen(to_client, "tcp_hdr(pkt->skb)->dest") == {CLIENT}
    own = [one for one in inside if one["inlined_by"][0]["function"] == "nft_do_chain"]
    kept = [one for one in own if one["watch"]["pkt"] is not None]
    assert len(kept) > len(own) // 2
    assert {one["watch"]["pkt->thoff"] for one in kept} == {20}, "wherever there is a pkt, it can be followed"
    # One jump deep where the first rule matched, never else.
    assert seen(to_server, "stackptr") == {0, 1}
    assert seen(to_client, "stackptr") == {0}
    verdicts = [one["watch"]["regs.verdict.code"] for one in to_server]
    assert {ACCEPT, CONTINUE, JUMP} <= set(verdicts)
    assert JUMP not in seen(to_client, "regs.verdict.code")
    accepted = [one for one in to_server if one["watch"]["regs.verdict.code"] == ACCEPT]
    assert seen(accepted, "stackptr") <= {1}
