"""A program whose variables expressions are evaluated on: by us from its ELF file, by gcc when it runs."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui import model
from ktcpdump_tui.debuginfo.expressions import Watched, compile_expression
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables import VariableTable, build_table

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Everything is static data of main, so that its bytes are in the file and no program has to be stopped.
DECLARATIONS = """
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64;
typedef u16 __be16; typedef u32 __be32; typedef u64 __be64;
enum colour { RED, GREEN = 5, BLUE = 9 };
enum level { LOW = -3, HIGH = 200 };
struct inner { short a; u8 b; u32 c; };
struct bits { unsigned f3 : 3; int s5 : 5; bool flag : 1; unsigned f31 : 31; int s32 : 32; unsigned u32b : 32;
	u64 w20 : 20; };
union overlay { u32 word; u8 byte[4]; struct { u16 lo, hi; }; };
struct node {
	int value; struct node *next; struct inner in; struct inner many[3]; char name[8]; const char *text;
	union overlay o; struct bits bits; enum level level; void *opaque; };
"""
VARIABLES = """
static s8 i8 = -5; static u8 b8 = 250; static s16 i16 = -300; static u16 b16 = 60000;
static int i32 = -70000; static u32 b32 = 3000000000u;
static s64 i64 = -(1LL << 40); static u64 b64 = 0x8000000000000001ULL;
static char ch = 'q'; static bool yes = true; static bool no = false;
static int zero = 0; static int one = 1; static unsigned big = 0xffffffffu;
static long lmin = -0x7fffffffffffffffL - 1;
static enum colour colour = GREEN; static enum level level = LOW;
static int array[5] = { 1, -2, 3, -4, 5 };
static u16 matrix[2][3] = { { 1, 2, 3 }, { 4, 5, 65535 } };
static struct node second = { .value = 77, .name = "second", .in = { -1, 2, 3 }, .text = "text two" };
static struct node first = { .value = -12, .next = &second, .in = { -7, 200, 4000000000u },
	.many = { { 1, 2, 3 }, { 4, 5, 6 }, { -7, 8, 9 } }, .name = "first", .text = "hello",
	.o = { .word = 0x01020304 },
	.bits = { 5, -7, 1, 0x7fffffff, -2, 0xfffffffe, 0xabcde }, .level = HIGH, .opaque = &second };
static struct node *head = &first; static int *middle = &array[2]; static struct node *nothing = 0;
static void *raw = &first;
"""


@dataclass(frozen=True)
class Program:
    """The compiled variables with one event in whose scope they are."""

    path: Path
    table: VariableTable
    event: model.Event

    def evaluate(self, text: str) -> Watched:
        return compile_expression(text, self.table.types).evaluate(self.event, self.table)


def sections_as_memory(image: DebugImage) -> model.Memory:
    regions = []
    for section in image.elf.sections:
        if section.name in (".data", ".rodata"):
            regions.append(model.Region(section.address, bytes(image.elf.data(section))))
        elif section.name == ".bss":
            regions.append(model.Region(section.address, bytes(section.size)))
    return model.Memory(tuple(regions))


def event_at(address: int, memory: model.Memory, skb: int = 0) -> model.Event:
    return model.Event(
        no=1, ts=1, cpu=0, pid=1, comm="test", packet_id=1, skb=skb, len=None, dev=None, netns=None,
        instruction=model.Instruction(index=0, address=address, symbol="main", offset=0),
        found_by=model.FoundBy.FRAME, cfa=0x7000, regs=tuple(range(100, 118)), memory=memory,
    )  # fmt: skip


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("expressions")
    source = folder / "program.c"
    source.write_text(
        DECLARATIONS + "void keep(void *p, ...) { __asm__ volatile(\"\" : : \"r\"(p) : \"memory\"); }\n"
        "int main(void) {" + VARIABLES
        + "keep(&i8, b8, i16, b16, i32, b32, i64, b64, ch, yes, no, zero, one, big, lmin, colour, level,"
        " array, matrix, head, middle, nothing, raw); return 0; }\n"
    )  # fmt: skip
    path = folder / "program"
    subprocess.run(["gcc", "-w", "-g", "-gdwarf-5", "-O0", "-no-pie", "-o", path, source], check=True)
    with DebugImage.open(path) as image:
        address = image.symbols.named("main")[0].address + 8
        memory = sections_as_memory(image)
        table = VariableTable.from_bytes(build_table(image, [address]).to_bytes())
    return Program(path, table, event_at(address, memory))


@pytest.fixture
def declarations() -> tuple[str, str]:
    return DECLARATIONS, VARIABLES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stock" in metafunc.fixturenames:
        lab = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ktcpdump-tui" / "lab"
        files = sorted(lab.glob("*/root/usr/lib/debug/boot/vmlinux-*"))
        names = [".".join(path.name.removeprefix("vmlinux-").split(".")[:2]) for path in files]
        # Without kernels the tests fail rather than vanish.
        metafunc.parametrize(
            "stock", files or [None], ids=names or ["missing"], indirect=True, scope="module"
        )


@pytest.fixture(scope="module")
def stock(request: pytest.FixtureRequest) -> Iterator[DebugImage]:
    if request.param is None:
        pytest.fail("no stock kernel in the cache folder: fetch them with `ktcpdump-tui --lab` once")
    with DebugImage.open(request.param) as image:
        yield image
