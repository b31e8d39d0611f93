"""From a syntax tree and an environment to a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.expressions import ctypes, helpers, nodes
from ktcpdump_tui.debuginfo.expressions.arithmetic import Arithmetic, string_of
from ktcpdump_tui.debuginfo.expressions.problems import ProblemError, UnknownNameError, nearest
from ktcpdump_tui.debuginfo.variables.places import InBytes, Missing
from ktcpdump_tui.debuginfo.variables.types import Kind, Type
from ktcpdump_tui.debuginfo.variables.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.debuginfo.expressions.environment import Environment

_TAG_KINDS = {"struct": Kind.STRUCT, "union": Kind.UNION, "enum": Kind.ENUM}

#: Names every C programmer expects.
_CONSTANTS = {"NULL": 0, "true": 1, "false": 0}


#: {structure: (where, beginning of the macro's name, beginning of the field's)} (include/net/sock.h,
#: inet_sock.h, inet_timewait_sock.h, request_sock.h).
_MACROS: Final = {
    "sock": ((("__sk_common",), "sk_", "skc_"),),
    "inet_sock": ((("sk", "__sk_common"), "inet_", "skc_"),),
    "inet_timewait_sock": ((("__tw_common",), "tw_", "skc_"),),
    "request_sock": ((("__req_common",), "rsk_", "skc_"),),
    "inet_request_sock": ((("req", "__req_common"), "ir_", "skc_"),),
}


class Evaluation:
    """One evaluation of one expression. Raises ProblemError where the types do not fit, NotInScopeError."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._types = environment.types
        self._arithmetic = Arithmetic(environment.types, environment.memory)

    def value(self, node: nodes.Node) -> Value:
        """Return the value of a node."""
        arithmetic = self._arithmetic
        match node:
            case nodes.Number(_, value, size, signed):
                return arithmetic.integer(value, ctypes.Integer(size, signed))
            case nodes.Text(_, data):
                kind = ctypes.base_type(self._types, ["char"]) or self._types.unknown
                return Value(kind.array(len(data) + 1), InBytes(data + b"\0"), self._environment.memory)
            case nodes.Name(at, name):
                return self._name(at, name)
            case nodes.Register(at, name):
                return self._register(at, name)
            case nodes.Member():
                return self._member(node)
            case nodes.Index(at, base, index):
                return arithmetic.index(self.value(base), self.value(index), at)
            case nodes.Unary():
                return self._unary(node)
            case nodes.Binary():
                return self._binary(node)
            case nodes.Conditional(at, condition, then, other):
                return arithmetic.choose(self.value(condition), self.value(then), self.value(other), at)
            case nodes.Cast(at, kind, operand):
                return arithmetic.convert(self.value(operand), self.type(kind), at)
            case nodes.SizeOf(at, operand):
                return arithmetic.integer(self._sizeof(at, operand), ctypes.UNSIGNED_LONG)
            case nodes.Call():
                return self._call(node)

    def type(self, name: nodes.TypeName) -> Type:
        """Return the type that a TypeName names."""
        kind: Type | None
        if name.tag:
            wanted = _TAG_KINDS[name.tag]
            kind = self._types.find(wanted, name.name)
            if kind is None:
                similar = nearest(name.name, self._types.names(wanted))
                raise ProblemError(name.at, f"no {name.tag} {name.name} is known here{similar}")
        else:
            words = name.name.split()
            kind = ctypes.base_type(self._types, words) if set(words) <= ctypes.BASE_WORDS else None
            if kind is None and len(words) == 1:
                kind = self._types.find(Kind.TYPEDEF, words[0]) or ctypes.builtin(self._types, words[0])
            if kind is None:
                names = [*self._types.names(Kind.TYPEDEF), *self._types.names(Kind.STRUCT)]
                similar = nearest(name.name, names)
                if self._types.find(Kind.STRUCT, name.name):
                    similar = f" (a structure is written struct {name.name})"
                raise ProblemError(name.at, f"no type {name.name} is known here{similar}")
        for _ in range(name.stars):
            kind = kind.pointer()
        for count in reversed(name.counts):
            kind = kind.array(count)
        return kind

    def _name(self, at: int, name: str) -> Value:
        variable = self._environment.variable(name)
        if variable is not None:
            return variable
        constant = self._types.constant(name)
        if constant is not None:
            value, kind = constant
            # C11 6.4.4.3: an enumerator is an int; GNU C gives one that does not fit its enumeration's type.
            fits = -(1 << 31) <= value < 1 << 31
            return self._arithmetic.integer(value) if fits else self._arithmetic.result(value, kind)
        if name in _CONSTANTS:
            return self._arithmetic.integer(_CONSTANTS[name])
        names = [*self._environment.names(), *self._types.constant_names()]
        raise UnknownNameError(at, f"nothing is called {name} here{nearest(name, names)}")

    def _register(self, at: int, name: str) -> Value:
        value = self._environment.register(name)
        if value is None:
            raise ProblemError(at, f"there is no register ${name}: $rax, $rsp, $rip, $r8 ... are meant")
        return value

    def value_of_path(self, node: nodes.Node | nodes.TypeName, base: Value, at: int) -> Value:
        """Return the field of ``base`` that ``a``, ``a.b`` or ``a[1].b`` names (offsetof has it last)."""
        match node:
            case nodes.Name(place, name):
                return self._field(base, name, place)
            case nodes.Member(place, inner, name, False):
                return self._field(self.value_of_path(inner, base, at), name, place)
            case nodes.Index(place, inner, index):
                return self._arithmetic.index(self.value_of_path(inner, base, at), self.value(index), place)
        raise ProblemError(at, "the name of a field is wanted as the last argument")

    def _member(self, node: nodes.Member) -> Value:
        base = self.value(node.base)
        if node.arrow:
            base = self._arithmetic.decayed(base)
            if base.scalar.kind is not Kind.POINTER:
                hint = "; write . instead" if base.scalar.is_structure else ""
                raise ProblemError(node.at, f"-> needs a pointer, not {base.type.spelling()}{hint}")
            base = base.dereference()
        return self._field(base, node.name, node.at)

    def _field(self, base: Value, name: str, at: int) -> Value:
        kind = base.scalar
        if kind.kind is Kind.POINTER and kind.target.stripped().is_structure:
            raise ProblemError(at, f"{base.type.spelling()} is a pointer: write -> instead of .")
        if not kind.is_structure:
            raise ProblemError(at, f"a value of type {base.type.spelling()} has no fields")
        if not kind.complete or (not kind.members and not kind.size):
            raise ProblemError(at, f"the fields of {base.type.spelling()} are not known here")
        found = base.member(name) or _aliased(base, name)
        if found is None:
            similar = nearest(name, _field_names(kind))
            raise ProblemError(at, f"{base.type.spelling()} has no field {name}{similar}")
        return found

    def _unary(self, node: nodes.Unary) -> Value:
        value = self.value(node.operand)
        if node.operator == "*":
            return self._arithmetic.dereference(value, node.at)
        if node.operator == "&":
            return self._arithmetic.address_of(value, node.at)
        return self._arithmetic.unary(node.operator, value, node.at)

    def _binary(self, node: nodes.Binary) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if node.operator in ("&&", "||"):
            return self._logical(node, left, right)
        if isinstance(node.left, nodes.Text) or isinstance(node.right, nodes.Text):
            return self._compare_strings(node, left, right)
        return self._arithmetic.binary(node.operator, left, right, node.at)

    def _logical(self, node: nodes.Binary, left: Value, right: Value) -> Value:
        first = self._arithmetic.scalar(left, node.at).number()
        second = self._arithmetic.scalar(right, node.at).number()
        decisive = node.operator == "||"
        if isinstance(first, Missing):
            return self._arithmetic.integer(first)
        if bool(first) == decisive:
            return self._arithmetic.integer(int(decisive))
        if isinstance(second, Missing):
            return self._arithmetic.integer(second)
        return self._arithmetic.integer(int(bool(second)))

    def _compare_strings(self, node: nodes.Binary, left: Value, right: Value) -> Value:
        """Compare what C could only compare the addresses of: ``dev->name == "eth0"``."""
        if node.operator not in ("==", "!="):
            raise ProblemError(node.at, "text can only be compared with == and !=")
        one, other = string_of(left), string_of(right)
        if one is None or other is None:
            raise ProblemError(node.at, "text can only be compared with characters")
        if isinstance(one, Missing) or isinstance(other, Missing):
            return self._arithmetic.integer(one if isinstance(one, Missing) else other)  # type: ignore[arg-type]
        return self._arithmetic.integer(int((one == other) == (node.operator == "==")))

    def _sizeof(self, at: int, operand: nodes.Node | nodes.TypeName) -> int:
        if isinstance(operand, nodes.TypeName):
            kind = self.type(operand)
        else:
            value = self.value(operand)
            if value.bits:
                raise ProblemError(at, "sizeof cannot be applied to a bitfield")
            kind = value.type
        size = kind.byte_size()
        if not size and not (kind.stripped().is_structure and kind.stripped().complete):
            if kind.stripped().kind in (Kind.VOID, Kind.FUNCTION):
                return 1  # GNU C
            raise ProblemError(at, f"the size of {kind.spelling()} is not known")
        return size

    def _call(self, node: nodes.Call) -> Value:
        return helpers.call(node, self, self._environment, self._arithmetic)


def _aliased(base: Value, name: str) -> Value | None:
    """Return a field that the kernel's headers name by a macro: sk->sk_state is sk->__sk_common.skc_state."""
    for path, prefix, field in _MACROS.get(base.scalar.name, ()):
        if name.startswith(prefix):
            found: Value | None = base
            for part in (*path, field + name.removeprefix(prefix)):
                found = found.member(part) if found is not None else None
            if found is not None:
                return found
    return None


def _field_names(kind: Type, depth: int = 0) -> Iterator[str]:
    for member in kind.members:
        if member.name:
            yield member.name
        elif depth < 8:
            yield from _field_names(member.type.stripped(), depth + 1)
