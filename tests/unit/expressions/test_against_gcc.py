"""gcc is the oracle: generated expressions, evaluated by us and by a program that gcc compiled."""

from __future__ import annotations

import subprocess

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, given, settings

NUMBERS = [
    "i8", "b8", "i16", "b16", "i32", "b32", "i64", "b64", "ch", "yes", "no", "zero", "one", "big", "lmin",
    "colour", "level", "BLUE", "HIGH", "LOW", "array[2]", "array[one]", "matrix[1][2]", "*middle",
    "middle[-1]",
    "first.value", "head->value", "head->next->value", "head->in.b", "head->in.c", "(*head).in.a",
    "head->many[2].a", "first.o.byte[1]", "first.o.hi", "first.bits.f3", "first.bits.s5", "first.bits.flag",
    "first.bits.f31", "first.bits.s32", "first.bits.u32b", "first.bits.w20", "head->level", "first.name[1]",
    "((struct node *)raw)->value", "((struct node *)head->opaque)->in.c", "*(head->text + 1)",
    "0", "1", "7", "31", "255", "2147483647", "2147483648", "0x7fffffff", "0x80000000", "0xffffffff", "017",
    "1u", "3l", "5ul", "0xfffffffffffffffful", "9223372036854775807", "'a'", "'\\n'", "'\\xff'", "-1",
    "sizeof(int)", "sizeof(struct node)", "sizeof first.name", "sizeof(u8 [6])", "sizeof *head",
    "(middle - array)", "(&array[4] - middle)", "(head == &first)", "(nothing == 0)", "!head",
    "(head->next != nothing)",
]  # fmt: skip
TYPES = [
    "u8",
    "s8",
    "u16",
    "short",
    "unsigned int",
    "int",
    "long",
    "unsigned long",
    "char",
    "bool",
    "u64",
    "s64",
]
BINARY = ["+", "-", "*", "/", "%", "<<", ">>", "&", "|", "^", "<", ">", "<=", ">=", "==", "!=", "&&", "||"]

EXPRESSIONS = st.recursive(
    st.sampled_from(NUMBERS),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(BINARY), inner).map(lambda part: f"{part[0]} {part[1]} {part[2]}"),
        st.tuples(inner, st.sampled_from(BINARY), inner).map(
            lambda part: f"({part[0]}) {part[1]} ({part[2]})"
        ),
        st.tuples(st.sampled_from("-~!+"), inner).map(lambda part: f"{part[0]}({part[1]})"),
        st.tuples(st.sampled_from(TYPES), inner).map(lambda part: f"({part[0]})({part[1]})"),
        st.tuples(st.sampled_from(TYPES), st.sampled_from(NUMBERS)).map(lambda part: f"({part[0]}){part[1]}"),
        st.tuples(inner, inner, inner).map(lambda part: f"({part[0]} ? {part[1]} : {part[2]})"),
    ),
    max_leaves=8,
)

#: Each line: bytes, whether signed, bits of the value.
PRINT = (
    'printf("%d %d %llu\\n", (int)sizeof(({0})+0), (typeof(({0})+0))-1 < 0, (unsigned long long)(({0})+0));'
)


@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(EXPRESSIONS, min_size=120, max_size=160, unique=True))
def test_the_same_type_and_value_as_gcc(program, declarations, tmp_path_factory, expressions):
    ours = {text: program.evaluate(f"({text})+0") for text in expressions}
    # What C leaves undefined (a division by zero, a shift too far) has no value with us, and none to compare.
    defined = [text for text in expressions if ours[text].value is not None]
    for text in expressions:
        if ours[text].value is None:
            assert ours[text].variable is not None, (text, ours[text].why)
            assert str(ours[text].variable.missing) == "<undefined>", (text, ours[text].why)
    assert len(defined) > len(expressions) / 2

    folder = tmp_path_factory.mktemp("gcc")
    (folder / "a.c").write_text(
        declarations[0]
        + "int main(void) {"
        + declarations[1]
        + "\n".join(PRINT.format(text) for text in defined)
        + "}"
    )
    subprocess.run(["gcc", "-w", "-fwrapv", "-O0", "-o", folder / "a", folder / "a.c"], check=True)
    lines = subprocess.run([folder / "a"], check=True, capture_output=True, text=True).stdout.splitlines()
    for text, line in zip(defined, lines, strict=True):
        size, signed, bits = (int(part) for part in line.split())
        value = ours[text].variable.raw
        mine = (value.scalar.size, int(value.scalar.signed), value.number() % (1 << 64))
        assert mine == (size, signed, bits), text
