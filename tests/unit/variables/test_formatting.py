"""Values as people and programs see them, by type."""

from __future__ import annotations

import pytest

from ktcpdump_tui import model
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables import VariableTable, build_table, variables

SOURCE = r"""
#include <stdint.h>
#include <stdbool.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef u16 __be16;
typedef u32 __be32; typedef uint64_t __be64;
enum reason { NOT_SET, CONSUMED, NO_SOCKET = 3, BIG = 70000 };
enum flags { F_A = 1, F_B = 2, F_C = 4, F_AC = 5 };
enum { NAMELESS = 4 };
struct in_addr { __be32 s_addr; };
struct in6_addr { union { u8 u6_addr8[16]; __be32 u6_addr32[4]; }; };
struct ethhdr { unsigned char h_dest[6]; unsigned char h_source[6]; __be16 h_proto; };
struct iphdr { u8 ihl : 4, version : 4; u8 tos; __be16 tot_len; __be32 saddr, daddr; };
struct node { struct node *next; int n; union { int i; unsigned u; }; };
int function(int n) { return n; }
int main(void)
{
	static __be16 port = 0x5000; static __be32 seq = 0x01020304; static __be32 daddr = 0x0100007f;
	static __be64 id = 1;
	static enum reason reason = NO_SOCKET, big = BIG; static enum reason strange = (enum reason)17;
	static enum flags one = F_B, two = F_B | F_C, mask = F_AC, other = (enum flags)24;
	static bool yes = true, no = false; static char letter = 'x', quote = '\'', newline = '\n';
	static u8 byte = 200;
	static char name[8] = "eth0\0xx", full[3] = "abc", odd[6] = "a\"\n\377"; static char *text = name;
	static char *nowhere = (char *)0x10;
	static struct in_addr ip = { 0x0a00a8c0 };
	static struct in6_addr ip6 = { { { 0x20, 1, 0xd, 0xb8, [15] = 1 } } };
	static struct ethhdr eth = { { 0x52, 0x54, 0, 0x12, 0x34, 0x56 }, { 1, 2, 3, 4, 5, 6 }, 0x0008 };
	static struct iphdr iph = { 5, 4, 0x10, 0x5400, 0x0100007f, 0x0200007f };
	static u8 raw[4] = { 1, 2, 0xab, 0xff }; static int numbers[10] = { 1, -2, 3 }; static long neg = -5;
	static struct node second = { 0, 2, { 7 } }, first = { &second, 1, { 5 } };
	static void *opaque = &first; static struct node *head = &first;
	static int (*call)(int) = function; static float f = 1.5f; static double d = -0.25;
	static u32 plain = 42; static unsigned long u = ~0ul;
	static const volatile int cv = 3; static int grid[2][2] = { { 1, 2 }, { 3, 4 } };
	static struct node *null = 0;
	static struct node *broken = (struct node *)0xffff888000000000;
	return port;
}
"""


@pytest.fixture(scope="module")
def found(compiled, event_of):
    path = compiled(SOURCE, "-g", "-O0", "-no-pie")
    with DebugImage.open(path) as image:
        address = image.symbols.named("main")[0].address
        table = VariableTable.from_bytes(build_table(image, [address]).to_bytes())
        functions = {one.address: one.name for one in image.symbols.functions()}
        memory = model.Memory(
            tuple(
                model.Region(one.address, bytes(image.elf.data(one)) or bytes(one.size))
                for one in image.elf.sections
                if one.name in (".data", ".bss")
            )
        )
    event = event_of(address + 4, [0] * 18, 0x1000, memory)
    return {one.name: one for one in variables(event, table, symbolise=functions.get)}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "80 (0x0050)", 80),
        ("seq", "67305985 (0x04030201)", 67305985),
        ("daddr", "127.0.0.1", "127.0.0.1"),
        ("id", "72057594037927936 (0x0100000000000000)", 1 << 56),
        ("reason", "NO_SOCKET (3)", "NO_SOCKET"),
        ("big", "BIG (70000)", "BIG"),
        ("strange", "17", 17),
        ("one", "F_B (2)", "F_B"),
        ("two", "F_B|F_C (6)", "F_B|F_C"),
        ("mask", "F_AC (5)", "F_AC"),
        ("other", "24", 24),
        ("yes", "true", 1),
        ("no", "false", 0),
        ("letter", "120 'x'", 120),
        ("quote", r"39 '\''", 39),
        ("newline", "10", 10),
        ("byte", "200", 200),
        ("name", '"eth0"', '"eth0"'),
        ("full", '"abc"', '"abc"'),
        ("odd", r'"a\"\n\377"', r'"a\"\n\377"'),
        ("ip", "192.168.0.10", "192.168.0.10"),
        ("ip6", "2001:db8::1", "2001:db8::1"),
        ("raw", "01 02 ab ff", "01 02 ab ff"),
        ("numbers", "{1, -2, 3, 0, 0, 0, 0, 0, …}", "{1, -2, 3, 0, 0, 0, 0, 0, …}"),
        ("neg", "-5", -5),
        ("null", "NULL", "0x0"),
        ("f", "1.5", 1.5),
        ("d", "-0.25", -0.25),
        ("plain", "42", 42),
        ("u", str(2**64 - 1), 2**64 - 1),
        ("cv", "3", 3),
        ("grid", "{{1, 2}, {3, 4}}", "{{1, 2}, {3, 4}}"),
        ("nowhere", "0x10", "0x10"),
    ],
)
def test_scalars_and_strings(found, name, text, value):
    assert found[name].text == text
    assert found[name].value == value


def test_headers_are_readable(found):
    assert (
        found["eth"].text
        == "{h_dest = 52:54:00:12:34:56, h_source = 01:02:03:04:05:06, h_proto = 2048 (0x0800)}"
    )
    fields = {one.name: one for one in found["iph"].children()}
    assert [one.text for one in fields.values()] == ["5", "4", "16", "84 (0x0054)", "127.0.0.1", "127.0.0.2"]
    assert fields["daddr"].value == "127.0.0.2"
    assert fields["tot_len"].value == 84
    assert fields["ihl"].address is None  # a bitfield
    assert fields["tos"].address == found["iph"].address + 1


def test_pointers_are_followed_and_named(found):
    assert found["call"].text.endswith("<function>")
    assert not found["call"].expandable
    assert not found["opaque"].expandable
    assert found["text"].text.endswith('"eth0"')
    head = found["head"]
    assert head.type == "struct node *"
    assert [one.name for one in head.children()] == ["next", "n", "<unnamed>"]
    following = head.children()[0]
    assert following.children()[1].text == "2"
    assert following.children()[0].text == "NULL"
    assert [one.text for one in head.children()[2].children()] == ["5", "5"]


def test_what_is_not_captured_says_so_field_by_field(found):
    broken = found["broken"]
    assert broken.text == "0xffff888000000000"
    assert broken.missing is None
    for one in broken.children()[:2]:
        assert one.text == "<not captured>"
        assert one.value is None
        assert "0xffff88800000000" in one.missing.reason
    assert [one.text for one in found["null"].children()[:1]] == ["<not captured>"]


def test_types_read_as_c(found):
    assert {name: found[name].type for name in ("call", "grid", "cv", "raw", "text", "eth", "reason")} == {
        "call": "int (*)(int)",
        "grid": "int[2][2]",
        "cv": "const volatile int",
        "raw": "u8[4]",
        "text": "char *",
        "eth": "struct ethhdr",
        "reason": "enum reason",
    }
