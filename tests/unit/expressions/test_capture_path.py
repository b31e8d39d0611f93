"""--capture: from an expression to the steps the kernel side takes, on the types of stock kernels."""

from __future__ import annotations

import pytest

from ktcpdump_tui import model
from ktcpdump_tui.debuginfo.expressions import capture_path, compile_expression
from ktcpdump_tui.debuginfo.expressions.capture_path import MOST_BYTES
from ktcpdump_tui.debuginfo.variables import VariableTable, build_table
from ktcpdump_tui.debuginfo.variables.btf_types import BtfTypes, known_types
from ktcpdump_tui.debuginfo.variables.table import share_types
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.kernel.btf import Btf

SKB, HEAD, DEV = 0xFFFF888100000000, 0xFFFF888200000000, 0xFFFF888300000000


@pytest.fixture(scope="module")
def btf(stock) -> Btf:
    return Btf(bytes(stock.section_bytes(".BTF")))


def test_steps_are_the_offsets_of_the_fields(btf):
    skb, dev, sock = btf.struct("sk_buff"), btf.struct("net_device"), btf.struct("sock")
    types = BtfTypes(btf)
    steps = {
        "skb->sk": (skb.offset("sk"), 0),
        "*skb->sk": (skb.offset("sk"), 0),
        "(*skb).dev": (skb.offset("dev"), 0),
        "skb->dev->name": (skb.offset("dev"), dev.offset("name")),
        "skb->cb": (skb.offset("cb"),),
        "&skb->cb[8]": (skb.offset("cb") + 8,),
        "skb->sk->sk_prot->name": (
            skb.offset("sk"),
            sock.offset("__sk_common.skc_prot"),
            btf.struct("proto").offset("name"),
        ),
        "((struct inet_sock *)skb->sk)->inet_saddr": (
            skb.offset("sk"),
            btf.struct("inet_sock").offset("inet_saddr"),
        ),
        "((struct tcp_skb_cb *)skb->cb)->end_seq": (
            skb.offset("cb") + btf.struct("tcp_skb_cb").offset("end_seq"),
        ),
        "((struct dst_entry *)skb->_skb_refdst)->dev": (
            skb.offset("_skb_refdst"),
            btf.struct("dst_entry").offset("dev"),
            0,
        ),
        "((struct iphdr *)skb->data)[1]": (skb.offset("data"), 20),
        "skb": (0,),
    }
    for text, wanted in steps.items():
        assert capture_path(text, types).steps == wanted, text


def test_sizes_are_those_of_what_is_there_and_limited(btf):
    types = BtfTypes(btf)
    assert capture_path("skb->dev->name", types).size == 16
    assert capture_path("skb->cb", types).size == 48
    assert capture_path("skb->sk->sk_mark", types).size == 4
    assert capture_path("skb", types).size == btf.struct("sk_buff").size
    assert capture_path("skb->sk", types).size == MOST_BYTES == 512
    assert capture_path("skb->head", types).size == 64  # nobody knows the end of bytes


def test_the_pointers_on_the_way_can_be_captured_too(btf):
    path = capture_path("skb->sk->sk_prot->name", BtfTypes(btf))
    assert [one.steps for one in path.pointers] == [path.steps[:2]]
    assert [one.size for one in path.pointers] == [8]
    assert capture_path("skb->dev->name", BtfTypes(btf)).pointers == []


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("skb->sk->sk_socke", "struct sock has no field sk_socke", 9),
        ("iph->ttl", "a path begins with skb, not with iph", 0),
        ("skb->len + 1", "only what fields of skb lead to can be captured", 9),
        ("skb->pkt_type", "a bitfield cannot be captured by itself", 5),
        ("skb->sk->sk_user_data", "a pointer to void has no size", 9),
        ("skb->dev->name[skb->len]", "an index in a path must be a constant", 20),
        ("((int)skb)->a", "only a cast to a pointer can be part of a path", 2),
        ("skb->len->x", "unsigned int is not a pointer", 5),
        ("", "the expression is empty", 0),
    ],
)
def test_what_is_no_path_is_pointed_at(btf, text, message, at):
    with pytest.raises(UsageError) as caught:
        capture_path(text, BtfTypes(btf))
    lines = caught.value.message.split("\n")
    assert lines[0].startswith(f"--capture: {message}")
    assert lines[2] == f"  {' ' * at}^"


@pytest.fixture(scope="module")
def packet(btf) -> model.Event:
    """An event of an ICMP packet whose struct sk_buff is laid out by BTF, in a function nobody knows."""
    skb = btf.struct("sk_buff")
    data = bytearray(skb.size)

    def put(field: str, value: int, size: int) -> None:
        data[skb.offset(field) : skb.offset(field) + size] = value.to_bytes(size, "little")

    put("len", 84, 4)
    put("head", HEAD, 8)
    put("data", HEAD + 16, 8)
    put("dev", DEV, 8)
    put("network_header", 16, 2)
    put("transport_header", 36, 2)
    put("mac_header", 2, 2)
    header = bytes.fromhex("4510005400004000 4001 0000 0a000001 0a000002") + bytes([8, 0, 0, 0])
    device = bytes(btf.struct("net_device").offset("name")) + b"veth0".ljust(16, b"\0")
    memory = model.Memory(
        (model.Region(SKB, bytes(data)), model.Region(HEAD + 16, header), model.Region(DEV, device))
    )
    return model.Event(
        no=1, ts=1, cpu=0, pid=1, comm="test", packet_id=1, skb=SKB, len=84, dev="veth0", netns=None,
        instruction=model.Instruction(index=0, address=0x1234, symbol="nobody", offset=0),
        found_by=model.FoundBy.FRAME, regs=(0,) * 18, memory=memory,
    )  # fmt: skip


WATCHES = {
    "skb->len": 84,
    "skb->len > 1500": 0,
    "ip_hdr(skb)->ttl": 64,
    "ip_hdr(skb)->ttl - 1": 63,
    "ip_hdr(skb)->tos": 0x10,
    "ip_hdr(skb)->tot_len": 84,
    "ntohs(ip_hdr(skb)->tot_len)": 84,
    "ip_hdr(skb)->daddr": "10.0.0.2",
    "((struct iphdr *)skb->data)->saddr": "10.0.0.1",
    "ip_hdr(skb)->protocol == IPPROTO_ICMP": 1,
    "icmp_hdr(skb)->type": 8,
    "skb->dev->name": '"veth0"',
    'skb->dev->name == "veth0"': 1,
    "skb_headroom(skb)": 16,
    "skb->data - skb->head": 16,
}


@pytest.mark.parametrize("source", ["btf", "trace without debug symbols", "module of a trace"])
def test_watches_on_a_packet_with_types_from_btf(stock, btf, packet, source):
    if source == "btf":
        table = VariableTable()
        table.types = BtfTypes(btf)
    else:
        types = VariableTable.from_bytes(known_types(btf).to_bytes())
        table = types
        if source == "module of a trace":  # whose own types know nothing of packets
            address = stock.symbols.named("fib_table_lookup")[0].address
            table = VariableTable.from_bytes(build_table(stock, [address], pointers=1).to_bytes())
            share_types([table, types])
    for text, value in WATCHES.items():
        expression = compile_expression(text, table.types)
        expression.check([table])
        assert expression.evaluate(packet, table).value == value, text
    watched = compile_expression("skb->dev->mtu").evaluate(packet, table)
    assert watched.value is None or isinstance(watched.value, int)
    assert compile_expression("fl->saddr").evaluate(packet, table).value is None
