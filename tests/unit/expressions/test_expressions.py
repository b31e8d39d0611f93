"""What users type: meaning, errors with a caret, and honest absence of values."""

from __future__ import annotations

import pytest

from ktcpdump_tui.debuginfo.expressions import compile_expression
from ktcpdump_tui.debuginfo.variables import VariableTable
from ktcpdump_tui.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("first.value - 1", -13),
        ("head->next->in.b", 2),
        ("((struct node *)raw)->in.c", 4000000000),
        ("(struct node*)raw == head", 1),
        ("*(int *)raw", -12),
        ("head->many[1].c + 1", 7),
        ("&head->many[1] - &head->many[0]", 1),
        ("head->next ? head->next->value : -1", 77),
        ("nothing && nothing->value", 0),
        ("nothing || one", 1),
        ("sizeof(struct inner)", 8),
        ("sizeof head->name", 8),
        ("colour == GREEN", 1),
        ("GREEN + 1", 6),
        ("head->level", "HIGH"),
        ("(enum colour)9", "BLUE"),
        ("first.bits.s5", -7),
        ("ntohs(b16)", 24810),
        ("ntohl(0x01020304)", 0x04030201),
        ("htons(80) == 0x5000", 1),
        ("be64_to_cpu(1)", 1 << 56),
        ("le32_to_cpu(7)", 7),
        ("(u8)300", 44),
        ("(bool)2", 1),
        ("!NULL", 1),
        ("true + true", 2),
        ("head->name == \"first\"", 1),
        ("head->text != \"hello\"", 0),
        ("\"second\" == head->next->name", 1),
        ("head->name", '"first"'),
        ("offsetof(struct node, in.c)", 20),
        ("offsetof(struct node, many[1].b)", 34),
        ("container_of(&head->in, struct node, in) == head", 1),
        ("container_of(&head->many[2].c, struct node, many[2].c)->value", -12),
        ("$rax", 100),
        ("$rip + 1", 117),
        ("$sp", 107),
        ("array", "{1, -2, 3, -4, 5}"),
        ("-array[1] << 3", 16),
        ("1 ? 2 : 3 ? 4 : 5", 2),
        ("1 + 2 * 3 == 7 && 10 - 2 - 3 == 5", 1),
        ("first.o.word & 0xff", 4),
        ("- - 1", 1),
        ("array[1]<array[0]", 1),
        ("(one)-1", 0),
        ("(one) * 2", 2),
        ("(long) one * 2", 2),
        ("(unsigned char) - 1", 255),
        ("'\\0' + '\\x41'", 65),
        ("head->bits.flag", 1),
    ],
)  # fmt: skip
def test_values(program, text, value):
    assert program.evaluate(text).value == value


def test_a_structure_can_be_opened(program):
    watched = program.evaluate("*head->next")
    assert watched.type == "struct node"
    assert watched.expandable
    assert watched.children()[0].text == "77"
    pointer = program.evaluate("&first.in")
    assert pointer.type == "struct inner *"
    assert [one.text for one in pointer.children()] == ["-7", "200", "4000000000"]


@pytest.mark.parametrize(
    ("text", "shown", "why"),
    [
        ("zero ? 1 : one / zero", "<undefined>", "a division by zero"),
        ("one << 32", "<undefined>", "a shift of 32 bits by 32"),
        ("lmin / -1", "<undefined>", "a division whose result is too large"),
        ("nothing->value", "<not captured>", "4 bytes at 0x0 were not captured"),
        ("((struct node *)4096)->next->value", "<not captured>", "8 bytes at 0x1008 were not captured"),
        ("skb->len", "<no value>", "the fields of struct sk_buff are not known here"),
    ],
)  # fmt: skip
def test_no_value_says_why(program, text, shown, why):
    watched = program.evaluate(text)
    assert watched.value is None
    assert (watched.text, watched.why) == (shown, why)


def test_short_circuits_spare_what_is_not_captured(program):
    assert program.evaluate("nothing != 0 && nothing->value > 1").value == 0
    assert program.evaluate("one || nothing->value").value == 1
    assert program.evaluate("one && nothing->value").value is None
    assert program.evaluate("nothing ? nothing->value : 5").value == 5


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("", "the expression is empty", 0),
        ("1 +", "the expression ends where a value is missing", 3),
        ("1 2", "an operator is missing before 2", 2),
        ("(1", "the parenthesis before has no )", 2),
        ("a[1", "the [ before has no ]", 3),
        ("a ? 1", "the ? before has no :", 5),
        ("a->", "the name of a field must follow ->", 3),
        ("a = 1", "an expression cannot change the kernel (=); == compares", 2),
        ("a++", "an expression cannot change the kernel (++)", 1),
        ("1 + @", "'@' has no meaning in an expression", 4),
        ("'ab'", "a character constant holds one character", 0),
        ('"ab', "the quotation mark is not closed", 0),
        ("1.5", "floating-point numbers are not used in the kernel", 0),
        ("0x", "0x is not a number", 0),
        ("09", "09 is not an octal number", 0),
        ("99999999999999999999", "99999999999999999999 does not fit in 64 bits", 0),
        ("(struct *)1", "the name of the struct is missing", 8),
        ("foo.bar(1)", "only the names of helper functions can be called", 7),
        ("int + 1", "a type (int) can only be in parentheses here", 0),
        ("(" * 200, "the expression is nested too deeply", 100),
    ],
)  # fmt: skip
def test_wrong_syntax_is_pointed_at(text, message, at):
    with pytest.raises(UsageError) as caught:
        compile_expression(text)
    lines = caught.value.message.split("\n")
    assert lines[0] == f"Watch expression: {message}."
    assert lines[1:] == [f"  {text}", f"  {' ' * at}^"]
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("head->valu", "struct node has no field valu (nearest: value)", 6),
        ("head.value", "struct node * is a pointer: write -> instead of .", 5),
        ("first->value", "-> needs a pointer, not struct node; write . instead", 7),
        ("one->value", "-> needs a pointer, not int", 5),
        ("one.value", "a value of type int has no fields", 4),
        ("hed->value", "nothing is called hed here (nearest: head)", 0),
        ("(struct nod *)raw", "no struct nod is known here (nearest: node)", 1),
        ("(node *)raw", "no type node is known here (a structure is written struct node)", 1),
        ("*raw", "void * must be cast to another pointer first", 0),
        ("*one", "* needs a pointer, not a value of type int", 0),
        ("&first.bits.f3", "a bitfield has no address", 0),
        ("first + 1", "a value of type struct node is not a number", 6),
        ("head * 2", "* cannot be applied to a pointer here", 5),
        ("-head", "- cannot be applied to a pointer", 0),
        ("$eaxx", "there is no register $eaxx: $rax, $rsp, $rip, $r8 ... are meant", 0),
        ("ntoh(1)", "there is no helper function ntoh (nearest: ntohs, ntohl)", 0),
        ("ntohs()", "ntohs takes one value", 0),
        ("(struct node)first", "a value cannot be cast to struct node", 0),
        ("sizeof first.bits.f3", "sizeof cannot be applied to a bitfield", 0),
        ("offsetof(struct node, x)", "struct node has no field x", 22),
        ("offsetof(first, in)", "offsetof is written offsetof(type, field)", 0),
        ("array[head]", "a value of type int[5] has no elements", 5),
        ('one == "text"', "text can only be compared with characters", 4),
        ('"a" < "b"', "text can only be compared with == and !=", 4),
    ],
)  # fmt: skip
def test_what_the_types_forbid_is_pointed_at(program, text, message, at):
    expression = compile_expression(text, program.table.types)
    with pytest.raises(UsageError) as caught:
        expression.check([program.table])
    lines = caught.value.message.split("\n")
    assert lines[0] == f"Watch expression: {message}."
    assert lines[2] == f"  {' ' * at}^"
    watched = expression.evaluate(program.event, program.table)
    assert (watched.value, watched.why) == (None, message)


def test_check_accepts_what_is_in_scope_anywhere(program):
    compile_expression("head->next->value > 1").check([VariableTable(), program.table])
    compile_expression("skb == 0").check([program.table])
    with pytest.raises(UsageError):
        compile_expression("elsewhere").check([program.table])


def test_values_without_any_table(program):
    assert compile_expression("$rcx + 1").evaluate(program.event, None).value == 103
    watched = compile_expression("skb").evaluate(program.event, None)
    assert (watched.type, watched.value) == ("struct sk_buff *", "0x0")


@pytest.mark.parametrize(
    "text", ["((((1))))", "~~~1", "1?2:3", "a.b.c->d[e].f", "(x)-(y)", "sizeof sizeof 1"]
)
def test_parsing_never_needs_types(text):
    assert compile_expression(text).text == text
