"""The language of -i, taken apart and looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktcpdump_tui.capture.resolve import Target, line_starts, resolve
from ktcpdump_tui.capture.spec import Spec, Want, parse_spec, parse_specs
from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.kernel.symbols import Kallsyms
from ktcpdump_tui.model import SourceLine

if TYPE_CHECKING:
    from collections.abc import Sequence

SYMBOLS = Kallsyms(
    b"""\
ffffffff81000000 T _text
ffffffff81000100 t helper
ffffffff81000140 T memcpy
ffffffff81000140 W __memcpy
ffffffff81000200 T ip_rcv
ffffffff81000300 t send.part.0
ffffffff81000400 T send
ffffffff81000480 t lonely.constprop.0
ffffffff81000500 t helper
ffffffff81000600 t send.cold
ffffffff81000620 t two.isra.0
ffffffff81000630 t two.isra.1
ffffffff81000640 T _etext
ffffffff82000000 D jiffies
ffffffffc0000000 t helper\t[veth]
ffffffffc0000040 t veth_xmit\t[veth]
ffffffffc0000080 t veth_end\t[veth]
"""
)


class Lines:
    """Debug symbols of the excerpt: each function in a file of its own, a line per 16 bytes."""

    files: ClassVar = {0xFFFFFFFF81000100: "net/a.c", 0xFFFFFFFF81000500: "drivers/net/b.c"}

    def source_line(self, address: int) -> SourceLine | None:
        return SourceLine("net/a.c", address // 16 % 16)

    def statement_rows(self, low: int, high: int) -> Sequence[tuple[int, SourceLine]]:
        return [(at, SourceLine("net/a.c", 1 + (at - low) // 16)) for at in range(low, high, 8)]

    def addresses_of(self, file: str, first: int, last: int) -> Sequence[int]:
        if file == "a.c" and first <= 6 <= last:
            return [0xFFFFFFFF81000168]
        return [0xFFFFFFFF81000210, 0xFFFFFFFF81000408] if file == "ip_input.c" and first == 464 else []

    def function_file(self, address: int) -> str | None:
        return self.files.get(address, "net/ipv4/ip_input.c")


def asked(text: str, lines: Lines | None = None) -> list[Target]:
    return resolve(parse_specs([text]), SYMBOLS, lines)


def names(text: str, lines: Lines | None = None) -> list[str]:
    return [one.symbol.name for one in asked(text, lines)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ip_rcv", {"want": Want.ENTRY, "name": "ip_rcv"}),
        ("ip_rcv+17", {"want": Want.OFFSET, "name": "ip_rcv", "offset": 17}),
        ("ip_rcv+0x11", {"want": Want.OFFSET, "name": "ip_rcv", "offset": 17}),
        ("ip_rcv+*", {"want": Want.INSTRUCTIONS, "name": "ip_rcv"}),
        ("ip_rcv:*", {"want": Want.LINES, "name": "ip_rcv"}),
        ("0xffffffff81000200", {"want": Want.ENTRY, "address": 0xFFFFFFFF81000200}),
        ("0xffffffff81000200+*", {"want": Want.INSTRUCTIONS, "address": 0xFFFFFFFF81000200}),
        ("veth:veth_xmit+*", {"want": Want.INSTRUCTIONS, "name": "veth_xmit", "module": "veth"}),
        ("veth:veth_xmit:*", {"want": Want.LINES, "name": "veth_xmit", "module": "veth"}),
        ("a.c:helper+*", {"want": Want.INSTRUCTIONS, "name": "helper", "file": "a.c"}),
        ("net/a.c:12", {"want": Want.LINES, "file": "net/a.c", "first_line": 12, "last_line": 12}),
        ("a.c:12-34", {"want": Want.LINES, "file": "a.c", "first_line": 12, "last_line": 34}),
        ("tcp_v4_*", {"want": Want.ENTRY, "name": "tcp_v4_*"}),
        ("tcp_*:*", {"want": Want.LINES, "name": "tcp_*"}),
        ("two.isra.0+*", {"want": Want.INSTRUCTIONS, "name": "two.isra.0"}),
    ],
)
def test_every_form_is_understood(text: str, expected: dict[str, object]) -> None:
    assert parse_spec(text) == Spec(text, **expected)  # type: ignore[arg-type]


def test_comma_lists_and_repeated_options_are_one_list() -> None:
    assert [one.text for one in parse_specs(["a,b+*", " c "])] == ["a", "b+*", "c"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "an empty SPEC"),
        ("a,,b", "an empty SPEC"),
        ("ip rcv", "no blanks"),
        ("ip_rcv+x", "'x' is no offset"),
        ("ip_rcv+-4", "'-4' is no offset"),
        ("ip_rcv+", "'' is no offset"),
        ("-ip_rcv", "does not begin with a dash"),
        ("a:b:c", "cannot be read"),
        ("ip_input:464", "'ip_input' is not the name of a C file"),
        ("a.c:0", "lines count from 1"),
        ("a.c:9-3", "the last line comes before the first"),
        ("tcp_*+4", "one offset cannot fit all functions"),
        ("a;reboot", "cannot be read"),
    ],
)
def test_what_is_no_spec_is_refused_with_a_reason(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint.replace("+", r"\+")) as caught:
        parse_specs([text])
    assert caught.value.status == 2
    assert caught.value.remedy


@given(st.text(max_size=30))
def test_no_text_makes_it_stumble(text: str) -> None:
    try:
        found = resolve(parse_specs([text]), SYMBOLS)
    except UserError:
        return
    assert found


def test_a_function_means_all_its_parts() -> None:
    assert names("send+*") == ["send", "send.part.0", "send.cold"]
    assert {one.function for one in asked("send+*")} == {"send"}


def test_parts_that_are_only_jumped_to_have_no_entry() -> None:
    assert names("send") == ["send", "send.part.0"]
    with pytest.raises(UsageError, match="never called"):
        asked("send.cold")


def test_a_variant_alone_stands_for_the_function() -> None:
    assert names("lonely") == ["lonely.constprop.0"]
    (target,) = asked("lonely+8")
    assert (target.symbol.name, target.addresses) == ("lonely.constprop.0", {0xFFFFFFFF81000488})


def test_aliases_are_one_function() -> None:
    (target,) = asked("__memcpy")
    assert (target.symbol.name, target.symbol.address) == ("__memcpy", 0xFFFFFFFF81000140)


def test_offsets() -> None:
    (target,) = asked("ip_rcv+0x10")
    assert (target.want, target.addresses) == (Want.OFFSET, {0xFFFFFFFF81000210})
    with pytest.raises(UsageError, match="ip_rcv is only 256 bytes long"):
        asked("ip_rcv+256")
    with pytest.raises(UsageError, match="2 functions of that name") as caught:
        asked("two+1")
    assert "-i 'two.isra.0+1'" in str(caught.value)
    assert "-i 'two.isra.1+1'" in str(caught.value)


def test_addresses() -> None:
    (target,) = asked("0xffffffff81000208")
    assert (target.symbol.name, target.addresses) == ("ip_rcv", {0xFFFFFFFF81000208})
    (target,) = asked("0xffffffff81000500+*")
    assert (target.symbol.name, target.symbol.address, target.want) == (
        "helper",
        0xFFFFFFFF81000500,
        Want.INSTRUCTIONS,
    )
    with pytest.raises(UsageError, match=r"ip_rcv\+8, not the start of a function"):
        asked("0xffffffff81000208+*")
    with pytest.raises(UsageError, match="not in this kernel's code"):
        asked("0x1234")
    with pytest.raises(UsageError, match="ip_rcv ends at"):
        asked("0xffffffff81000200+256")


def test_functions_of_one_name_are_asked_about() -> None:
    with pytest.raises(UsageError, match="3 functions of that name") as caught:
        asked("helper+*", Lines())
    for way in (
        "-i 'net/a.c:helper+*',",
        "-i 'drivers/net/b.c:helper+*',",
        "-i 'veth:helper+*' (net/ipv4/ip_input.c),",
        "all 2 of vmlinux with -i 'vmlinux:helper+*'",
    ):
        assert way in str(caught.value)
    with pytest.raises(
        UsageError, match="-i '0xffffffff81000100', -i '0xffffffff81000500', -i 'veth:helper'"
    ):
        asked("helper")
    with pytest.raises(UsageError, match="2 functions of that name"):
        asked("vmlinux:helper+4")


def test_where_they_are_takes_all_functions_of_one_name() -> None:
    assert [one.symbol.address for one in asked("vmlinux:helper+*")] == [
        0xFFFFFFFF81000100,
        0xFFFFFFFF81000500,
    ]


def test_ways_to_say_which() -> None:
    assert [one.symbol.module for one in asked("veth:helper+*")] == ["veth"]
    assert [one.symbol.address for one in asked("b.c:helper+*", Lines())] == [0xFFFFFFFF81000500]
    assert [one.symbol.address for one in asked("net/a.c:helper", Lines())] == [0xFFFFFFFF81000100]
    with pytest.raises(UsageError, match=r"t/a\.c has no function helper"):
        asked("t/a.c:helper", Lines())
    with pytest.raises(UserError, match="needs the kernel's debug symbols"):
        asked("a.c:helper")


def test_unknown_names_come_with_near_ones() -> None:
    with pytest.raises(UsageError, match="no function ip_rvc") as caught:
        asked("ip_rvc")
    assert "did you mean ip_rcv?" in str(caught.value)
    with pytest.raises(UsageError, match="jiffies is data, not code"):
        asked("jiffies+*")
    with pytest.raises(UsageError, match="module veth has no ip_rcv") as caught:
        asked("veth:ip_rcv")
    assert "try -i vmlinux:ip_rcv" in str(caught.value)
    with pytest.raises(UsageError, match="no function's name matches"):
        asked("nothing_*")


def test_globs_take_all_functions_and_their_parts() -> None:
    assert names("send*") == ["send"]
    assert names("send*+*") == ["send", "send.part.0", "send.cold"]
    assert [one.symbol.address for one in asked("helper*")] == [
        0xFFFFFFFF81000100,
        0xFFFFFFFF81000500,
        0xFFFFFFFFC0000000,
    ]


def test_lines() -> None:
    (target,) = asked("ip_rcv:*", Lines())
    assert target.addresses == set(range(0xFFFFFFFF81000200, 0xFFFFFFFF81000300, 16))
    targets = asked("ip_input.c:464", Lines())
    assert [(one.symbol.name, sorted(one.addresses)) for one in targets] == [
        ("ip_rcv", [0xFFFFFFFF81000210]),
        ("send", [0xFFFFFFFF81000408]),
    ]
    with pytest.raises(UsageError, match=r"no code for line 1 of ip_input\.c"):
        asked("ip_input.c:1", Lines())
    with pytest.raises(UsageError, match=r"no code for line 3 of a\.c") as caught:
        asked("a.c:3", Lines())
    assert "the next line with code is -i a.c:6" in str(caught.value)
    for text in ("ip_rcv:*", "ip_input.c:464"):
        with pytest.raises(UserError, match="needs the kernel's debug symbols"):
            asked(text)


def test_a_line_begins_where_the_row_before_is_of_another() -> None:
    rows = [
        (0, SourceLine("a", 1)),
        (4, SourceLine("a", 1)),
        (8, SourceLine("b", 1)),
        (9, SourceLine("b", 0)),
    ]
    rows += [(12, SourceLine("b", 1)), (16, SourceLine("a", 1))]
    assert line_starts(rows) == [0, 8, 12, 16]
