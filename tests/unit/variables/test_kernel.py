"""The stock kernels' own functions: everything decodes, at every instruction."""

from __future__ import annotations

import itertools
import subprocess
import sys

import capstone
import pytest

from ktcpdump_tui import model
from ktcpdump_tui.debuginfo.cache import DiskCache
from ktcpdump_tui.debuginfo.variables import VariableTable, build_table, variables
from ktcpdump_tui.debuginfo.variables.btf_types import BtfTypes, known_types
from ktcpdump_tui.debuginfo.variables.cached import table_bytes
from ktcpdump_tui.debuginfo.variables.operations import Op
from ktcpdump_tui.debuginfo.variables.types import Kind
from ktcpdump_tui.kernel.btf import Btf

FUNCTIONS = ["ip_rcv_core", "__netif_receive_skb_core.constprop.0", "tcp_v4_rcv", "nft_do_chain"]
CORE = FUNCTIONS[1]
STACK = 0xFFFFC900_00010000
SKB = 0xFFFF8881_00000000

#: Memory full of plausible numbers: pointers to SKB and small integers.
REGIONS = (
    model.Region(STACK - 1024, b"".join((SKB + 8 * number).to_bytes(8, "little") for number in range(256))),
    model.Region(SKB, bytes(range(256)) * 4),
)


def instructions(image, name: str) -> list[int]:
    symbol = image.symbols.named(name)[0]
    section = next(
        one for one in image.elf.sections
        if one.executable and image.section_addresses.get(one.name, one.address) <= symbol.address
        < image.section_addresses.get(one.name, one.address) + one.size
    )  # fmt: skip
    start = symbol.address - image.section_addresses.get(section.name, section.address)
    code = bytes(image.elf.data(section)[start : start + symbol.size])
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    return [address for address, *_ in decoder.disasm_lite(code, symbol.address)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_variable_decodes_at_every_instruction(stock, event_of, name):
    image = stock.image(name)
    addresses = instructions(image, name)
    table = VariableTable.from_bytes(build_table(image, addresses[:1]).to_bytes())
    memory = model.Memory(REGIONS)
    known = shown = 0
    for number, address in enumerate(addresses):
        event = event_of(address, [SKB] * 7 + [STACK] + [SKB] * 10, STACK, memory)
        found = variables(event, table, lambda event: event.regs)
        assert found
        for one in found:
            known += one.missing is None
            assert one.name
            assert one.type
            assert "?" not in one.type, "every type in scope is understood"
            if number % 16 == 0:
                shown += len(one.text) > 0
                for child in itertools.islice(one.children(), 40):
                    shown += len(child.text) > 0
    assert known > len(addresses)
    assert shown > len(addresses)
    operations = [operation for expression in table.expressions for operation in expression]
    assert all(operation[0] != Op.UNREADABLE for operation in operations)


def test_ip_rcv_core_has_the_locals_of_its_source(stock, event_of):
    image = stock.image("ip_rcv_core")
    addresses = instructions(image, "ip_rcv_core")
    table = build_table(image, addresses[:1])
    event = event_of(addresses[0], [0] * 18, STACK, model.Memory())
    found = {one.name: one for one in variables(event, table) if not one.inlined}
    assert [(one.name, one.type) for one in found.values() if one.is_parameter] == [
        ("skb", "struct sk_buff *"),
        ("net", "struct net *"),
    ]
    assert {"iph", "drop_reason", "len"} <= found.keys()
    assert found["iph"].type == "const struct iphdr *"
    assert found["len"].type == "u32"
    names = {
        one.name
        for address in addresses
        for one in variables(event_of(address, [0] * 18, STACK, model.Memory()), table)
    }
    assert {"skb", "net", "iph"} <= names


def test_a_plan_of_many_instructions_stays_small(stock):
    image = stock.image("ip_rcv_core")
    names = (
        "ip_rcv_core",
        "tcp_v4_rcv",
        "__netif_receive_skb_core.constprop.0",
        "ip_local_deliver_finish",
        "udp_rcv",
    )
    addresses = [image.symbols.named(name)[0].address for name in names]
    table = build_table(image, addresses)
    assert len(table.functions) == len(names)
    assert len(table.to_bytes()) < 400_000


def test_structures_of_dwarf_and_btf_agree(stock):
    """Two descriptions of the same types, made by different tools from the same kernel."""
    image = stock.image("ip_rcv_core")
    dwarf = build_table(image, [image.symbols.named("ip_rcv_core")[0].address]).types
    btf = BtfTypes(Btf(bytes(image.section_bytes(".BTF"))))
    compared = 0
    for record in dwarf.records:
        if record[0] not in (Kind.STRUCT, Kind.UNION) or not record[1] or record[4] is None:
            continue
        other = btf.find(Kind(record[0]), record[1])
        if other is None or other.size != record[2]:
            continue  # several structures of one name
        mine = dwarf.find(Kind(record[0]), record[1])
        assert [(one.name, one.offset, one.bits) for one in mine.members] == [
            (one.name, one.offset, one.bits) for one in other.members
        ], record[1]
        compared += len(mine.members)
    assert compared > 2000


def test_known_types_serve_without_any_function(stock):
    table = known_types(Btf(bytes(stock.image("ip_rcv_core").section_bytes(".BTF"))))
    data = table.to_bytes()
    assert len(data) < 100_000
    table = VariableTable.from_bytes(data)
    for name in (
        "sk_buff",
        "iphdr",
        "ipv6hdr",
        "tcphdr",
        "udphdr",
        "icmphdr",
        "ethhdr",
        "sock",
        "net_device",
    ):
        kind = table.types.find(Kind.STRUCT, name)
        assert kind is not None, name
        assert kind.members, name
    assert table.types.constant("SKB_DROP_REASON_NO_SOCKET") is not None
    assert table.types.constant("IPPROTO_TCP")[0] == 6
    assert table.at(0xFFFFFFFF81000000) is None


def test_the_cache_gives_the_same_table_at_another_slide(stock, tmp_path):
    image = stock.image("ip_rcv_core")
    address = image.symbols.named("ip_rcv_core")[0].address
    cache = DiskCache(tmp_path)
    first = table_bytes(image, [address], 0, cache)
    assert any(tmp_path.rglob("variables-*"))
    again = table_bytes(image, [address], 0x1000_0000, cache)
    assert VariableTable.from_bytes(first).at(address) is not None
    slid = VariableTable.from_bytes(again)
    assert slid.at(address) is None
    assert slid.at(address + 0x1000_0000).slide == 0x1000_0000


MEMORY = """
import sys
from pathlib import Path
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables.build import build_table
def resident():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssFile"))
image = DebugImage.open(Path(sys.argv[1]))
image.units
before = resident()
assert build_table(image, [int(sys.argv[2], 16)]).functions
print(resident() - before)
"""


def test_the_variables_of_a_function_do_not_bring_all_debug_information_into_memory(stock):
    """.debug_info alone has some 200 MB; mapped pages count as memory as well."""
    address = stock.image(CORE).symbols.named(CORE)[0].address
    path = stock.image(CORE).path
    command = [sys.executable, "-c", MEMORY, path, f"{address:x}"]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 40_000, f"{grown} KiB"
