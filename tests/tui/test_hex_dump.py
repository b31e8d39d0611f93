"""The bytes of a packet and the fields decoded from them point at each other."""

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_Timestamp
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from ktcpdump_tui.tui import hex_dump
from ktcpdump_tui.tui.packet_fields import packet_fields

PACKETS = {
    "udp": Ether() / IP(ttl=7, flags="DF") / UDP(sport=5000, dport=53) / b"hello",
    "tcp": Ether() / Dot1Q(vlan=5) / IP() / TCP(seq=0x12345678, options=[("MSS", 1460)]) / (b"x" * 20),
    "options": Ether() / IP(options=[IPOption_Timestamp(flg=0)]) / UDP() / b"abc",
    "ip6": Ether() / IPv6(hlim=9) / UDP(dport=5001) / b"abc",
}


def spans(fields, above=()):
    for field in fields:
        if not field.dumped:
            yield (*above, field.name), field.span
            yield from spans(field.children or (), (*above, field.name))


@pytest.mark.parametrize("name", PACKETS)
def test_each_layer_is_where_its_bytes_are(name):
    data = bytes(PACKETS[name])
    fields = packet_fields(data, "ethernet")
    at = 0
    for layer in (field for field in fields if field.name != "captured"):
        first, end = layer.span
        assert first == at
        at = end
        for _, span in spans(layer.children or ()):
            assert span is None or first <= span[0] < span[1] <= end
    assert at == len(data)


def test_fields_are_where_the_protocols_have_them():
    """RFC 791, RFC 768: the offsets that tcpdump's ip[8] and udp[2:2] name."""
    data = bytes(PACKETS["udp"])
    found = dict(spans(packet_fields(data, "ethernet")))
    assert found["Ether", "type"] == (12, 14)
    assert found["IP", "version"] == found["IP", "ihl"] == (14, 15), "half a byte each"
    assert data[slice(*found["IP", "ttl"])] == b"\x07"
    assert found["IP", "ttl"] == (22, 23)
    assert data[slice(*found["UDP", "dport"])] == (53).to_bytes(2, "big")
    assert found["UDP", "dport"] == (36, 38)
    tcp = bytes(PACKETS["tcp"])
    assert tcp[slice(*dict(spans(packet_fields(tcp, "ethernet")))["TCP", "seq"])].hex() == "12345678"


def test_a_byte_is_named_by_its_innermost_field():
    fields = packet_fields(bytes(PACKETS["udp"]), "ethernet")
    assert hex_dump.said_of(fields, 22) == "byte 22: IP ttl"
    assert hex_dump.said_of(fields, 36) == "byte 36: UDP dport"
    assert hex_dump.field_of(fields, 1000) == ()


def test_columns_of_a_line_are_bytes_in_digits_and_characters():
    first, second = hex_dump.hex_dump(bytes(range(0x41, 0x41 + 20)), 16)
    assert hex_dump.byte_at(first, 0) == hex_dump.byte_at(first, 1) == 0
    assert hex_dump.byte_at(first, 3 * 15) == 15
    assert hex_dump.byte_at(first, 3 * 16 + 1) == 0
    assert hex_dump.byte_at(second, 3 * 3) == 19
    assert hex_dump.byte_at(second, 3 * 4) is None
    assert first.value[3 * 16 + 1] == "A"
    chosen = "".join(piece.text for piece in hex_dump.pieces(first, (2, 4)) if piece.selected)
    assert chosen == "43 44CD"
    assert "".join(piece.text for piece in hex_dump.pieces(second, None)) == second.value


async def test_the_cursor_on_a_field_marks_its_bytes_and_the_other_way_round(debugger, recorded):
    async with debugger(recorded, size=(160, 60)) as driver:
        await driver.press("1")
        tree = next(iter(driver.app.query("FieldTree")))
        driver.app.set_focus(tree)
        row = next(i for i, one in enumerate(tree._rows) if one.path == ("IP", "ttl"))
        tree.action_move(row - tree.cursor)
        await driver.until()
        assert "ip[8]" in driver.text()
        dump = next(i for i, one in enumerate(tree._rows) if one.path == ("captured",))
        tree.action_move(dump - tree.cursor)
        tree.action_open(True)
        await driver.until()
        tree.action_move(1)
        for _ in range(8):
            tree.action_open(True)
        await driver.until()
        assert "byte 8:" in driver.text()
