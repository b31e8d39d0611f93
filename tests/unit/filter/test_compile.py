"""What compile_filter() says of an expression, right or wrong."""

from __future__ import annotations

import subprocess

import pytest

from ktcpdump_tui.capture.filter import OfflineFilter, compile_filter, filter_c, libpcap
from ktcpdump_tui.errors import UsageError, UserError

IPV4 = bytes.fromhex("4500001c000100004001000a0a0000010a000002") + b"\x08\0" + bytes(6)
FRAME = bytes.fromhex("020000000002020000000001") + b"\x08\0" + IPV4


def tcpdump_program(expression: str, link: str) -> list[tuple[int, int, int, int]]:
    """Return the program as ``tcpdump -ddd`` prints it: a count, then one line of four numbers each."""
    output = subprocess.run(
        ["tcpdump", "-y", link, "-ddd", expression], check=True, capture_output=True, text=True
    ).stdout.split("\n")
    return [tuple(map(int, line.split())) for line in output[1:] if line]


@pytest.mark.parametrize("expression", ["icmp", "tcp port 80 and host 10.0.0.1", "", "ip6 or udp[4:2] > 9"])
def test_program_is_tcpdumps(expression):
    compiled = compile_filter(expression)
    assert [tuple(insn) for insn in compiled.ethernet] == tcpdump_program(expression, "EN10MB")
    assert [tuple(insn) for insn in compiled.raw] == tcpdump_program(expression, "RAW")
    assert not compiled.never


@pytest.mark.parametrize("expression", ["", "ip or not ip", "not arp or arp"])
def test_what_selects_all_says_so(expression):
    compiled = compile_filter(expression)
    assert compiled.selects_all
    assert compiled.needed_bytes == 0
    assert "#define KTD_FILTER_ALL 1" in filter_c(compiled)


def test_a_filter_inside_a_tunnel_does_not_select_all():
    assert "#define KTD_FILTER_ALL 0" in filter_c(compile_filter(""), compile_filter(""))


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("arp", "rejects all"),
        ("ether host 02:00:00:00:00:01", "ethernet addresses"),
        ("vlan 5", "VLAN"),
        ("stp", "rejects all"),
    ],
)
def test_an_expression_for_ethernet_alone_never_selects_raw_packets(expression, reason):
    compiled = compile_filter(expression)
    assert list(compiled.never) == ["raw"]
    assert reason in compiled.never["raw"]
    assert [tuple(insn) for insn in compiled.raw] == [(6, 0, 0, 0)]


@pytest.mark.parametrize(
    ("expression", "needed"),
    [
        ("icmp", 24),
        ("ip6", 14),
        ("ip[40:4] = 1", 58),
        # 14 for Ethernet, 60 for the longest IPv4 header, 4 for the ports
        ("tcp port 80", 78),
        # ... 60 for the longest TCP header, 4 for what follows
        ("tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", 138),
        ("ip[ip[2:2]] = 1", 14 + 0xFFFF + 1),
        ("ip[ip[4:4]] = 1", None),
    ],
)
def test_needed_bytes(expression, needed):
    assert compile_filter(expression).needed_bytes == needed


@pytest.mark.parametrize(
    "expression", ["vlan", "vlan 5 and icmp", "ether proto 0x8100", "icmp or vlan", "not vlan"]
)
def test_expressions_about_tags_want_the_tag(expression):
    compiled = compile_filter(expression)
    assert compiled.wants_vlan_tag
    assert "#define KTD_FILTER_VLAN 1" in filter_c(compiled)


@pytest.mark.parametrize("expression", ["icmp", "", "port 33024", "arp", "ether src 02:00:00:00:00:01"])
def test_other_expressions_do_not(expression):
    assert not compile_filter(expression).wants_vlan_tag


@pytest.mark.parametrize(
    ("expression", "message", "marked"),
    [
        ("tcp and and udp", "syntax error", "and udp"),
        ("tcp prt 80", "syntax error", "prt 80"),
        ("icmpp", "syntax error", "icmpp"),
        ("host 10.0.0.1 port 80 80", "syntax error", "port 80 80"),
        ("(tcp", "syntax error", ""),
        ("tcp)", "syntax error", ")"),
        ("tcp[0", "syntax error", ""),
        ("ip[0] & 0xf =", "syntax error", ""),
        ("port 99999", "99999", "99999"),
        ("host 300.1.1.1", "300.1.1.1", "300.1.1.1"),
        ("ip proto nosuch", "nosuch", "nosuch"),
        ("net 1.2.3.4/24 and tcp", "1.2.3.4/24", "1.2.3.4/24 and tcp"),
        ("vlan 5000", "5000", "5000"),
        ("icmp or ip6 protochain 6", "loop", "protochain 6"),
        ("icmp and inbound", "not in the packet", "inbound"),
    ],
)
def test_wrong_expressions_get_libpcaps_message_and_a_caret(expression, message, marked):
    with pytest.raises(UsageError) as caught:
        compile_filter(expression)
    first, shown, caret = caught.value.message.split("\n")
    assert message in first
    assert shown == f"  {expression}"
    assert shown[caret.index("^") :] == marked
    assert caught.value.status == 2
    assert caught.value.remedy


def test_a_message_without_a_place_has_no_caret():
    with pytest.raises(UsageError) as caught:
        compile_filter("ip[0] / 0 = 1")
    assert caught.value.message.split("\n") == ["Filter expression: division by zero.", "  ip[0] / 0 = 1"]


@pytest.mark.parametrize("expression", ["icmp or ip[4999] = 1", "ip[0xffff] = 1"])
def test_bytes_far_from_the_start_are_refused(expression):
    with pytest.raises(UsageError, match=r"byte \d+ .* first 4096") as caught:
        compile_filter(expression)
    assert "nearer" in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "asked", "copied"),
    [
        ("icmp", 256, 256),
        ("icmp", 64, 256),  # a small snap length is about what is kept, not about what is compared
        ("icmp", 1500, 1500),
        ("icmp", 65535, 4096),
        ("ip[299] = 1", 256, 314),
        ("tcp[200] = 1", 256, 275),
        ("ip[ip[2:2]] = 1", 256, 256),
        ("ip[0 - 1] = 1", 256, 256),
    ],
)
def test_as_much_is_copied_as_the_expression_needs(expression, asked, copied):
    compiled = compile_filter(expression, snaplen=asked)
    assert compiled.snaplen == copied
    assert f"#define KTD_FILTER_SNAPLEN {copied}\n" in filter_c(compiled)
    assert f"#define KTD_FILTER_SNAPLEN {copied}\n" in filter_c(compile_filter("ip"), compiled)


@pytest.mark.parametrize(
    "expression", ["ether[0] = 1 and \0", "host \udcff", "port é", "x" * 5000, "(" * 3000]
)
def test_hostile_expressions_are_refused(expression):
    with pytest.raises(UsageError):
        compile_filter(expression)
    with pytest.raises(UsageError):
        OfflineFilter(expression)


def test_of_a_long_expression_the_part_with_the_mistake_is_shown():
    with pytest.raises(UsageError) as caught:
        compile_filter(" or ".join(["icmp"] * 20) + " or host 300.1.1.1 or " + " or ".join(["icmp"] * 20))
    _, shown, caret = caught.value.message.split("\n")
    assert len(shown) <= 102
    assert shown[caret.index("^") :].startswith("300.1.1.1 or icmp")


def test_control_characters_do_not_reach_the_terminal():
    with pytest.raises(UsageError) as caught:
        compile_filter("tcp \x1b[31m or")
    assert "\x1b" not in str(caught.value)


def test_a_missing_libpcap_names_the_package(monkeypatch):
    monkeypatch.setattr(libpcap, "_SONAMES", ("libpcap.so.none",))
    monkeypatch.setattr(libpcap.ctypes.util, "find_library", lambda name: None)
    libpcap.library.cache_clear()
    try:
        with pytest.raises(UserError, match=r"apt install libpcap0\.8") as caught:
            compile_filter("icmp")
        assert caught.value.status == 1
    finally:
        libpcap.library.cache_clear()


def test_recorded_packets_are_filtered_by_link_type():
    icmp = OfflineFilter("icmp and host 10.0.0.1")
    assert icmp.matches(FRAME, "ethernet")
    assert icmp.matches(IPV4, "raw")
    assert not icmp.matches(IPV4, "ethernet")
    assert not icmp.matches(FRAME, "raw")


def test_recorded_packets_keep_the_length_they_had():
    assert OfflineFilter("greater 1000").matches(FRAME[:20], "ethernet", 1500)
    assert not OfflineFilter("greater 1000").matches(FRAME[:20], "ethernet")


def test_an_expression_for_one_link_type_never_selects_the_other():
    arp = OfflineFilter("arp")
    assert list(arp.never) == ["raw"]
    assert not arp.matches(IPV4, "raw")
    assert arp.matches(FRAME[:12] + b"\x08\x06" + bytes(46), "ethernet")


def test_loops_are_fine_for_recorded_packets():
    assert OfflineFilter("ip protochain 1").matches(FRAME)
