"""BTF: small programs where the compiler itself is the witness, and stock kernels."""

from __future__ import annotations

import random
import re
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile

from ktcpdump_tui import arch
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.parameters import skb_parameters
from ktcpdump_tui.kernel.btf import Btf
from ktcpdump_tui.kernel.btf_records import Kind
from ktcpdump_tui.kernel.prototypes import PointerParameter, Prototypes

if TYPE_CHECKING:
    from tests.unit.kernel.stock import StockKernel

SOURCE = r"""
#include <stddef.h>
#include <stdio.h>
typedef unsigned long long u64;
enum color { RED = 1, GREEN = 7, BLUE = 200 };
struct inner { int a; char b[3]; struct { short deep; }; };
struct outer {
    char tag;
    struct { int x; union { long y; struct inner z; const volatile u64 w; }; };
    unsigned f1 : 3, f2 : 7; int : 0; unsigned long long f3 : 40;
    const char *name; enum color c; short arr[4][5]; void (*call)(int);
};
typedef struct outer outer_t;
union either { int i; double d; };
struct pair { long a, b; };
struct big { long a, b, c; };
int take(int a, struct outer *const s, long b) { return a + s->x + b; }
int twice(struct inner i, outer_t **p, __int128 w, volatile outer_t *q) { return i.a + (*p)->x + q->f1; }
int last(int a, int b, int c, int d, struct pair p, struct outer *s, int f) { return s->x + p.a + f; }
int memory(struct big m, struct outer *s) { return s->x + m.a; }
int stack(long a, long b, long c, long d, long e, long f, struct outer *s) { return s->x; }
int none(struct inner *i, union either *e, struct pair *p, struct big *b, enum color c) { return i->a; }
#define SHOW(type, member) \
    printf(#type " " #member " %zu %zu\n", offsetof(type, member), sizeof(((type *)0)->member))
int main(void)
{
    SHOW(struct outer, tag); SHOW(struct outer, x); SHOW(struct outer, y); SHOW(struct outer, z);
    SHOW(struct outer, z.b); SHOW(struct outer, z.deep); SHOW(struct outer, w); SHOW(struct outer, name);
    SHOW(struct outer, c); SHOW(struct outer, arr); SHOW(struct outer, call); SHOW(union either, d);
    struct outer o = {0}; unsigned char *bytes = (void *)&o;
    o.f3 = 1;
    for (size_t i = 0; i < 8 * sizeof o; i++) if (bytes[i / 8] >> (i % 8) & 1) printf("f3 %zu\n", i);
    o.f3 = 0; o.f2 = 1;
    for (size_t i = 0; i < 8 * sizeof o; i++) if (bytes[i / 8] >> (i % 8) & 1) printf("f2 %zu\n", i);
    printf("size %zu\n", sizeof o);
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Btf, str]:
    """A program's BTF, and what it says of itself."""
    folder = tmp_path_factory.mktemp("btf")
    (folder / "p.c").write_text(SOURCE)
    subprocess.run(["gcc", "-gbtf", "-w", "-o", "p", "p.c"], cwd=folder, check=True)
    with (folder / "p").open("rb") as file:
        btf = Btf(ELFFile(file).get_section_by_name(".BTF").data())
    return btf, subprocess.run([folder / "p"], capture_output=True, check=True, text=True).stdout


def test_members_are_where_the_compiler_puts_them(program: tuple[Btf, str]) -> None:
    btf, said = program
    rows = re.findall(r"^(?:struct|union) (\w+) ([\w.]+) (\d+) (\d+)$", said, re.MULTILINE)
    assert len(rows) == 12
    for name, member, offset, size in rows:
        assert btf.struct(name).offset(member) == int(offset), member
        assert btf.struct(name).sizeof(member) == int(size), member
    assert btf.struct("outer").size == int(re.search(r"size (\d+)", said)[1])


def test_bitfields_are_where_the_compiler_puts_them(program: tuple[Btf, str]) -> None:
    btf, said = program
    for name, width in (("f2", 7), ("f3", 40)):
        assert btf.struct("outer").bitfield(name) == (int(re.search(rf"{name} (\d+)", said)[1]), width)
    assert btf.struct("outer").bitfield("name") is None
    assert btf.struct("outer").bitfield("missing") is None
    with pytest.raises(KeyError, match="bitfield"):
        btf.struct("outer").offset("f2")


def test_what_is_not_there(program: tuple[Btf, str]) -> None:
    btf, _ = program
    with pytest.raises(KeyError, match="no member nothing"):
        btf.struct("outer").offset("nothing")
    with pytest.raises(KeyError, match=r"no member z\.nothing"):
        btf.struct("outer").offset("z.nothing")
    with pytest.raises(KeyError):
        btf.struct("nothing")
    with pytest.raises(KeyError):
        btf.enum("nothing")
    with pytest.raises(IndexError):
        btf.type(1_000_000)
    assert "z.b" in btf.struct("outer")
    assert "z.q" not in btf.struct("outer")
    assert not btf.has_member("nothing", "x")
    assert btf.functions("nothing") == []


def test_enumerators(program: tuple[Btf, str]) -> None:
    btf, _ = program
    assert btf.enum("color") == {"RED": 1, "GREEN": 7, "BLUE": 200}
    assert btf.enumerator("BLUE") == 200
    assert btf.enumerator("MAUVE") is None


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("take", [PointerParameter(1, 1, False, "s")]),
        ("twice", [PointerParameter(1, 2, True, "p"), PointerParameter(3, 5, False, "q")]),
        ("last", [PointerParameter(5, None, False, "s")]),
        ("memory", [PointerParameter(1, 0, False, "s")]),
        ("stack", [PointerParameter(6, None, False, "s")]),
        ("none", []),
        ("missing", None),
    ],
)
def test_where_pointers_travel(
    program: tuple[Btf, str], function: str, expected: list[PointerParameter] | None
) -> None:
    """inner is 12 bytes (two registers), __int128 takes two, big goes to memory, pair takes two."""
    prototypes = Prototypes(program[0], "outer")
    assert prototypes.parameters(function) == expected
    everything = prototypes.functions()
    assert set(everything) == {"take", "twice", "last", "memory", "stack"}
    assert prototypes.parameters(function) == expected


def test_damaged_data_is_refused(program: tuple[Btf, str]) -> None:
    data = program[0].data
    for broken in (b"", data[:20], data[:-100], b"\0" * len(data), data[:2] + b"\x07" + data[3:]):
        with pytest.raises(ValueError, match="BTF"):
            Btf(broken)


def test_split_btf_continues_its_base() -> None:
    """GIVEN a base and a module's blob made by hand THEN the second reaches ids and strings of both."""
    base = Btf(
        _blob([(1, 4 << 24 | 1, 8), (9, 2, 0)], b"\0sk_buff\0len\0int\0", extra={0: [9, 2, 0]}, int_at=13)
    )
    # base: 1 struct sk_buff {len}, 2 int
    strings = b"\0use\0skb\0"
    first = base._string_bytes
    words = [0, 2 << 24, 1]  # 3: pointer to 1
    words += [0, 13 << 24 | 1, 2, first + 5, 3]  # 4: prototype (skb: 3) -> int
    words += [first + 1, 12 << 24, 4]  # 5: function use
    module = Btf(_wrap(struct.pack(f"<{len(words)}I", *words), strings), base)
    assert module.first_id == 3
    assert module.type(5).name == "use"
    assert module.type(1).name == "sk_buff"
    assert module.struct("sk_buff").offset("len") == 0
    found = Prototypes(module, "sk_buff", Prototypes(base, "sk_buff")).functions()
    assert found == {"use": [PointerParameter(0, 0, False, "skb")]}


def _blob(
    types: list[tuple[int, int, int]], strings: bytes, extra: dict[int, list[int]], int_at: int
) -> bytes:
    words: list[int] = []
    for number, (name, info, size) in enumerate(types):
        words += [name, info, size] if number == 0 else [int_at, 1 << 24, 4, 32]
        words += extra.get(number, [])
    return _wrap(struct.pack(f"<{len(words)}I", *words), strings)


def _wrap(types: bytes, strings: bytes) -> bytes:
    return (
        struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings
    )


def test_the_structures_of_a_stock_kernel(stock: StockKernel) -> None:
    skb = stock.btf.struct("sk_buff")
    assert (skb.size, skb.offset("next"), skb.sizeof("cb")) == (232, 0, 48)
    assert skb.bitfield("cloned")[1] == 1
    assert stock.btf.has_member("sock", "__sk_common.skc_net")
    assert stock.btf.enum("skb_drop_reason")["SKB_NOT_DROPPED_YET"] == 0
    assert stock.btf.size_of(stock.btf.find("u64", Kind.TYPEDEF)[0].id) == 8


def test_registers_agree_with_dwarf(stock: StockKernel) -> None:
    """GIVEN functions of a stock kernel that take an skb THEN DWARF says the same register."""
    prototypes = Prototypes(stock.btf, "sk_buff")
    everything = prototypes.functions()
    assert len(everything) > 1400
    compared = 0
    with DebugImage.open(stock.vmlinux) as image:
        for name in random.Random(4).sample(sorted(everything), 60):
            symbols = [one for one in stock.kallsyms.find(name) if one.is_text]
            if len(symbols) != 1:
                continue
            witness = skb_parameters(image, symbols[0].address)
            if not witness:
                continue
            said = [
                (arch.ARGUMENT_REGISTERS[one.register], one.indirect)
                for one in everything[name]
                if one.register is not None
            ]
            assert said == [(register, indirect) for _, register, indirect in witness], name
            compared += 1
    assert compared > 40
