"""Damaged and hostile input ends in our own errors, never in others."""

from __future__ import annotations

import contextlib
import random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ktcpdump_tui import model
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables import VariableTable, build_table, variables
from ktcpdump_tui.debuginfo.variables.damage import BadDwarfError
from ktcpdump_tui.debuginfo.variables.machine import FrameState, compute, locate
from ktcpdump_tui.debuginfo.variables.numbers import GENERIC, BaseType
from ktcpdump_tui.debuginfo.variables.operations import Op, decode, from_json, to_json
from ktcpdump_tui.debuginfo.variables.places import InBytes, Missing
from ktcpdump_tui.errors import UserError

BASE_TYPES = [
    GENERIC,
    BaseType(4, 5),
    BaseType(1, 6),
    BaseType(8, 4),
    BaseType(4, 4),
    BaseType(16, 7),
    BaseType(0, 5),
    BaseType(16, 4),
]


class Objects:
    """References that lead somewhere, or round in circles."""

    def base_type(self, number):
        return BASE_TYPES[number % len(BASE_TYPES)]

    def object_place(self, number, frame):
        return locate(((Op.IMPLICIT_POINTER, number, 0),), frame) if number % 2 else InBytes(b"12345678")


class References:
    address_size = 8
    offset_size = 4

    def base_type(self, offset):
        return offset

    def variable(self, offset, *, relative):
        return offset

    def indexed_address(self, index):
        return index * 8


def frame(entry=lambda: None, cfa: int | None = 0x2000) -> FrameState:
    memory = model.Memory((model.Region(0x1000, bytes(range(256)) * 32),))
    return FrameState(
        0x400000, tuple(range(0x1000, 0x1011)), memory, cfa, ((Op.CALL_FRAME_CFA,),), 0, Objects(), entry
    )


VALID_OPERATIONS = st.one_of(
    st.sampled_from([bytes([code]) for code in range(0x12, 0x98)]),
    st.integers(0, 255).map(lambda number: bytes([0x08, number])),
    st.integers(0, 1 << 64 - 1).map(lambda number: b"\x0e" + (number & (1 << 64) - 1).to_bytes(8, "little")),
    st.integers(0, 127).map(lambda number: bytes([0x93, number])),
    st.integers(0, 127).map(lambda number: bytes([0xA8, number])),
    st.tuples(st.integers(0, 20), st.integers(0, 127)).map(lambda pair: bytes([0xA5, *pair])),
    st.tuples(st.integers(0, 20), st.integers(0, 127)).map(lambda pair: bytes([0xA6, *pair])),
    st.integers(0, 31).map(lambda number: bytes([0xA3, 1, 0x50 + number])),
    st.integers(0, 31).map(lambda number: bytes([0x70 + number, 8])),
    st.binary(max_size=9).map(lambda data: bytes([0x9E, len(data)]) + data),
    st.integers(-20, 20).map(lambda number: b"\x28" + number.to_bytes(2, "little", signed=True)),
    st.sampled_from([b"\x9c", b"\x9f", b"\x91\x08", b"\xa0\1\0\0\0\2", b"\xf2\2\0\0\0\0", b"\xfa\1\0\0\0"]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=24), st.lists(VALID_OPERATIONS, max_size=8).map(b"".join)), st.booleans())
def test_any_bytes_are_a_place_or_bad_dwarf(data, traced):
    entry = (lambda: tuple(range(17))) if traced else (lambda: None)
    try:
        operations = decode(data, References())
    except BadDwarfError:
        return
    assert from_json(to_json(operations)) == operations
    for state in (frame(entry), frame(entry, cfa=None)):
        try:
            place = locate(operations, state)
            for size in (1, 4, 8, 16):
                result = place.bytes(0, size)
                assert isinstance(result, Missing) or len(result) == size
                bits = place.bits(3, size)
                assert isinstance(bits, Missing) or 0 <= bits < 1 << size
            place.at(4).bytes(1, 2)
        except BadDwarfError:
            pass
        with contextlib.suppress(BadDwarfError):
            compute(operations, state)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        (b"\x35\x33\x1c\x9f", 2),  # lit5 lit3 minus stack_value
        (b"\x09\xfe\x33\x1b\x9f", 0),  # const1s -2, lit3: division is signed, -2/3 = 0
        (b"\x09\xf7\x32\x1b\x9f", -4),  # -9 / 2
        (b"\x09\xf7\x32\x26\x9f", -3),  # -9 >> 2, arithmetic
        (b"\x09\xff\x08\x3c\x25\x9f", 15),  # -1 >> 60, logical
        (b"\x31\x08\x40\x24\x9f", 0),  # 1 << 64
        (b"\x09\xff\x30\x2d\x9f", 1),  # -1 < 0
        (b"\x31\x32\x33\x17\x9f", 2),  # rot: third becomes the top's place
        (b"\x31\x32\x14\x9f", 1),  # over
        (b"\x31\x32\x33\x15\x02\x9f", 1),  # pick 2
        (b"\x31\x28\x01\x00\x32\x33\x9f", 3),  # bra over lit2
        (b"\x70\x01\x9f", 0x1001),  # breg0+1
        (b"\x91\x78\x9f", 0x2000 - 8),  # fbreg -8
        (b"\x9c\x9f", 0x2000),
        (b"\x11\x80\x7f\x1f\x9f", 128),  # consts -128, neg
        (b"\x08\xff\x20\x9f", -256),  # not
        (b"\x0c\xff\xff\xff\xff\xa8\x01\x9f", -1),  # convert to a signed type of 4 bytes
        (b"\x0a\x34\x12\xa8\x02\xa8\x00\x9f", 0x34),  # to a char and back
        (b"\x9e\x04\x01\x02\x03\x04", 0x04030201),
        (b"\x31\x9f\x93\x02\x93\x02", 1),  # two bytes known, two not: read as two
    ],
)  # fmt: skip
def test_operations_mean_what_dwarf_says(expression, result):
    place = locate(decode(expression, References()), frame())
    size = 2 if expression.endswith(b"\x93\x02") else 4 if expression[0] in (0x9E, 0x0C) else 8
    data = place.bytes(0, size)
    assert not isinstance(data, Missing), data
    assert int.from_bytes(data, "little", signed=result < 0) == result


def test_an_entry_value_needs_the_entry():
    operations = decode(b"\xa3\x01\x55\x9f", References())
    missing = locate(operations, frame()).bytes(0, 8)
    assert isinstance(missing, Missing)
    assert "entry" in missing.reason
    known = locate(operations, frame(lambda: tuple(range(17)))).bytes(0, 8)
    assert known == (5).to_bytes(8, "little")


def test_memory_that_was_not_captured_is_told_from_a_value_not_kept():
    memory = locate(decode(b"\x0e\x00\x90\x00\x00\x00\x00\x00\x00", References()), frame())
    assert str(memory.bytes(0, 4)) == "<not captured>"
    assert str(locate((), frame()).bytes(0, 4)) == "<optimised out>"


def test_damaged_debug_information_ends_in_a_user_error(compiled, tmp_path, event_of):
    """Bytes of every debug section overwritten: a table, or a UserError; then variables that can be shown."""
    program = compiled(
        "struct s { int a[3]; struct s *next; };\n"
        "static inline int twice(int x) { int y = x * 2; return y + 1; }\n"
        "int work(struct s *p, int n) { int r = twice(n); struct s copy = *p;\n"
        "if (n) { long m = r; r += m + copy.a[1]; } return r; }\n"
        "int main(int c, char **v) { struct s one = { { c, 2, 3 }, 0 }; return work(&one, c); }\n",
        "-O1", "-gdwarf-5", "-no-pie",
    )  # fmt: skip
    whole = program.read_bytes()
    with DebugImage.open(program) as image:
        sections = [one for one in image.elf.sections if one.name.startswith(".debug_")]
        address = image.symbols.named("work")[0].address
    chooser = random.Random(4)
    outcomes = set()
    for round_number in range(160):
        data = bytearray(whole)
        section = chooser.choice(sections)
        for _ in range(chooser.randint(1, 4)):
            data[section.offset + chooser.randrange(section.size)] = chooser.choice(
                (0, 1, 0xFF, chooser.randrange(256))
            )
        path = tmp_path / f"damaged{round_number % 4}"
        path.write_bytes(data)
        try:
            with DebugImage.open(path) as image:
                table = VariableTable.from_bytes(build_table(image, [address]).to_bytes())
        except UserError:
            outcomes.add("refused")
            continue
        outcomes.add("read")
        memory = model.Memory((model.Region(0x7000, bytes(512)),))
        for offset in range(0, 40, 3):
            for one in variables(event_of(address + offset, [0x7100] * 18, 0x7100, memory), table):
                assert isinstance(one.text, str)
                one.type, one.value, one.children()
    assert outcomes == {"refused", "read"}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_tables_are_refused(program_table, data):
    position = data.draw(st.integers(0, len(program_table) - 1))
    byte = data.draw(st.integers(0, 255))
    damaged = bytearray(program_table)
    damaged[position] = byte
    cut = data.draw(st.integers(0, len(program_table)))
    for one in (bytes(damaged), program_table[:cut]):
        try:
            VariableTable.from_bytes(one)
        except UserError as error:
            assert "variables" in error.message


@pytest.fixture(scope="module")
def program_table(compiled) -> bytes:
    path = compiled(
        "int work(int n) { int r = n * 3; return r; } int main() { return work(2); }", "-g", "-no-pie"
    )
    with DebugImage.open(path) as image:
        return build_table(image, [image.symbols.named("work")[0].address]).to_bytes()
