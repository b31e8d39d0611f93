"""From SPECs to functions: names looked up in kallsyms, lines in the debug symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.capture.spec import Spec, Want
from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.kernel.symbols import PSEUDO_MODULES, Symbol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ktcpdump_tui.kernel.symbols import Kallsyms
    from ktcpdump_tui.model import SourceLine

#: A line with code is offered in place of one without if it is not further away.
_NEAR: Final = 30

#: Names listed in a message; the rest is counted.
_LISTED: Final = 8


class LineSource(Protocol):
    """What SPEC needs of the debug symbols. All addresses are run-time addresses."""

    def source_line(self, address: int) -> SourceLine | None:
        """Return the line of the instruction at ``address``."""

    def statement_rows(self, low: int, high: int) -> Sequence[tuple[int, SourceLine]]:
        """Return the rows of the line table with the statement flag in [low, high), in order of address."""

    def addresses_of(self, file: str, first: int, last: int) -> Sequence[int]:
        """Return the addresses of the statement rows of these lines of each file that ends in ``file``."""

    def function_file(self, address: int) -> str | None:
        """Return the file that declares the function at ``address`` (not that of what is inlined there)."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one SPEC asks of one piece of code: a function, or one of its parts.

    ``addresses`` are the asked ones for Want.OFFSET and Want.LINES, empty for the other two. ``function``
    is the name the code has in the source, which its parts share.
    """

    symbol: Symbol
    want: Want
    spec: Spec
    function: str
    addresses: frozenset[int] = frozenset()


def resolve(specs: Iterable[Spec], kallsyms: Kallsyms, lines: LineSource | None = None) -> list[Target]:
    """Return what the SPECs mean in this kernel, in their order.

    Raises UsageError for what is unknown or ambiguous, UserError where there are no debug symbols for a SPEC
    that needs them.
    """
    return [target for spec in specs for target in _Resolver(kallsyms, lines).resolve(spec)]


class _Resolver:
    def __init__(self, kallsyms: Kallsyms, lines: LineSource | None) -> None:
        self.kallsyms = kallsyms
        self.lines = lines

    def resolve(self, spec: Spec) -> list[Target]:
        if spec.first_line is not None:
            return self._lines_of_file(spec)
        if spec.address is not None:
            return self._at_address(spec, spec.address)
        if spec.is_glob:
            return self._glob(spec)
        return self._function(spec, self._pieces(spec))

    # ---- by name

    def _pieces(self, spec: Spec) -> list[Symbol]:
        """Return the pieces of code of the function that ``spec`` names: itself first, then its parts.

        Of several functions of that name it means all if it says where they are (module or file), and is a
        question back to the user if not.
        """
        name = spec.name or ""
        found = self.kallsyms.find(name, spec.module)
        code = [one for one in found if one.is_text and one.module not in PSEUDO_MODULES]
        parts = self.kallsyms.parts(name, spec.module)
        if spec.file:
            code, parts = self._of_file(spec, code), self._of_file(spec, parts)
        if not code and not parts:
            raise self._unknown(spec, found)
        # aliases: several names for one address are one function
        distinct = {one.address: one for one in reversed(code)}
        functions = sorted(distinct.values(), key=lambda one: one.address)
        if len(functions) > 1 and (spec.want is Want.OFFSET or not (spec.module or spec.file)):
            raise self._ambiguous(spec, functions)
        return [*functions, *parts]

    def _of_file(self, spec: Spec, symbols: list[Symbol]) -> list[Symbol]:
        lines = self._need_lines(spec)
        return [one for one in symbols if _is_suffix(lines.function_file(one.address), spec.file or "")]

    def _function(self, spec: Spec, pieces: list[Symbol]) -> list[Target]:
        function = pieces[0].base_name
        if spec.want is Want.OFFSET:
            return [self._offset(spec, pieces)]
        if spec.want is Want.LINES:
            return [self._statements(spec, one, function) for one in pieces]
        if spec.want is Want.ENTRY:
            # code that is only jumped to has no entry of its own
            called = [one for one in pieces if not is_fragment(one)]
            if not called:
                raise UsageError(
                    f"-i {spec.text}: {spec.name} is a function's unlikely part, which is never called",
                    f"try -i '{function}+*'",
                )
            pieces = called
        return [Target(one, spec.want, spec, function) for one in pieces]

    def _offset(self, spec: Spec, pieces: list[Symbol]) -> Target:
        symbol = pieces[0]
        called = [one for one in pieces if not is_fragment(one)]
        if symbol.name != spec.name and len(called) > 1:
            raise self._ambiguous(spec, called)
        if spec.offset >= symbol.size:
            raise UsageError(
                f"-i {spec.text}: {symbol.name} is only {symbol.size} bytes long",
                f"see its instructions with --list '{symbol.name}+*'",
            )
        return Target(symbol, Want.OFFSET, spec, symbol.base_name, frozenset({symbol.address + spec.offset}))

    def _glob(self, spec: Spec) -> list[Target]:
        found = self.kallsyms.glob(spec.name or "", spec.module)
        if spec.file:
            found = self._of_file(spec, found)
        if not found:
            raise UsageError(
                f"-i {spec.text}: no function's name matches", "see --list with a shorter pattern"
            )
        targets: list[Target] = []
        seen: set[int] = set()
        for one in found:
            parts = (
                self.kallsyms.parts(one.name, one.module or "vmlinux") if spec.want is not Want.ENTRY else []
            )
            for piece in (one, *parts):
                if piece.address not in seen:
                    seen.add(piece.address)
                    targets.extend(self._function(spec, [piece]))
        return targets

    # ---- by address

    def _at_address(self, spec: Spec, address: int) -> list[Target]:
        found = self.kallsyms.lookup(address)
        if found is None:
            raise UsageError(
                f"-i {spec.text}: {address:#x} is not in this kernel's code",
                "addresses change with each boot; name the symbol instead",
            )
        symbol, offset = found
        if spec.want in (Want.ENTRY, Want.OFFSET):
            asked = address + spec.offset
            if asked not in symbol:
                raise UsageError(f"-i {spec.text}: {symbol.name} ends at {symbol.end:#x}")
            return [Target(symbol, Want.OFFSET, spec, symbol.base_name, frozenset({asked}))]
        if offset:
            raise UsageError(
                f"-i {spec.text}: {address:#x} is {symbol.name}+{offset}, not the start of a function",
                f"try -i '{symbol.address:#x}{'+*' if spec.want is Want.INSTRUCTIONS else ':*'}'",
            )
        same_name = len({one.address for one in self.kallsyms.find(symbol.name) if one.is_text}) > 1
        # which of several functions of one name a .cold belongs to, its name does not say
        parts = [] if same_name else self.kallsyms.parts(symbol.name, symbol.module or "vmlinux")
        return self._function(spec, [symbol, *parts])

    # ---- by line

    def _statements(self, spec: Spec, symbol: Symbol, function: str) -> Target:
        rows = self._need_lines(spec).statement_rows(symbol.address, symbol.end)
        return Target(symbol, Want.LINES, spec, function, frozenset(line_starts(rows)))

    def _lines_of_file(self, spec: Spec) -> list[Target]:
        lines = self._need_lines(spec)
        assert spec.file and spec.first_line and spec.last_line
        by_symbol: dict[Symbol, set[int]] = {}
        for address in lines.addresses_of(spec.file, spec.first_line, spec.last_line):
            found = self.kallsyms.lookup(address)
            if found:
                by_symbol.setdefault(found[0], set()).add(address)
        if not by_symbol:
            span = f"line {spec.first_line}" if spec.first_line == spec.last_line else "these lines"
            raise UsageError(
                f"-i {spec.text}: there is no code for {span} of {spec.file}, or no such file",
                self._next_line(lines, spec.file, spec.last_line)
                or "name a line with a statement, or a longer part of the file's path",
            )
        return [
            Target(symbol, Want.LINES, spec, symbol.base_name, frozenset(addresses))
            for symbol, addresses in sorted(by_symbol.items(), key=lambda item: item[0].address)
        ]

    def _next_line(self, lines: LineSource, file: str, line: int) -> str | None:
        """Return a hint at the first line with code after ``line``, where there is one not far from it."""
        rows = [lines.source_line(one) for one in lines.addresses_of(file, line + 1, line + _NEAR)]
        after = [one.line for one in rows if one and _is_suffix(one.file, file) and one.line > line]
        return f"the next line with code is -i {file}:{min(after)}" if after else None

    def _need_lines(self, spec: Spec) -> LineSource:
        if self.lines is None:
            raise UserError(
                f"-i {spec.text} needs the kernel's debug symbols, and none were found",
                "name them with -d PATH, or see ktcpdump-tui --check for the package that has them",
            )
        return self.lines

    # ---- what went wrong

    def _unknown(self, spec: Spec, found: list[Symbol]) -> UsageError:
        name = spec.name or ""
        elsewhere = self.kallsyms.find(name) if spec.module else []
        if found and not spec.file:
            return UsageError(f"-i {spec.text}: {name} is data, not code", "name a function")
        if elsewhere:
            homes = " or ".join(sorted({f"{one.module or 'vmlinux'}:{name}" for one in elsewhere}))
            return UsageError(f"-i {spec.text}: module {spec.module} has no {name}", f"try -i {homes}")
        if spec.file:
            return UsageError(
                f"-i {spec.text}: {spec.file} has no function {name} in this kernel", f"try -i {name}"
            )
        near = self.kallsyms.nearest(name)
        hint = f"did you mean {_either(near)}?" if near else None
        if hint is None:
            hint = "is the module loaded? (lsmod); a function may also have been inlined everywhere"
        return UsageError(f"-i {spec.text}: this kernel has no function {name}", hint)

    def _ambiguous(self, spec: Spec, symbols: list[Symbol]) -> UsageError:
        tail = {Want.INSTRUCTIONS: "+*", Want.LINES: ":*", Want.OFFSET: f"+{spec.offset}"}.get(spec.want, "")
        files = [self.lines.function_file(one.address) if self.lines else None for one in symbols]
        modules = [one.module or "vmlinux" for one in symbols]
        ways = []
        for one, file, module in zip(symbols, files, modules, strict=True):
            if one.name != spec.name:
                way = one.name
            elif modules.count(module) == 1:
                way = f"{module}:{one.name}"
            elif file and files.count(file) == 1:
                way = f"{file}:{one.name}"
            else:
                way = f"{one.address:#x}"
            told = f" ({file})" if file and not way.startswith(f"{file}:") else ""
            ways.append(f"-i '{way}{tail}'{told}")
        if len(ways) > _LISTED:
            ways[_LISTED:] = [f"{len(ways) - _LISTED} more"]
        if spec.want is not Want.OFFSET:
            several = sorted({module for module in modules if modules.count(module) > 1})
            ways += [
                f"all {modules.count(module)} of {module} with -i '{module}:{spec.name}{tail}'"
                for module in several
            ]
        return UsageError(
            f"-i {spec.text}: this kernel has {len(symbols)} functions of that name",
            "say which: " + ", ".join(ways),
        )


def is_fragment(symbol: Symbol) -> bool:
    """Tell whether the code is only jumped to (``.cold``), not called."""
    return ".cold" in symbol.name


def line_starts(rows: Sequence[tuple[int, SourceLine]]) -> list[int]:
    """Return where a line begins: the rows whose line differs from that of the row before; no line 0."""
    found = []
    last: tuple[str, int] | None = None
    for address, row in rows:
        here = (row.file, row.line)
        if row.line and here != last:
            found.append(address)
        last = here
    return found


def _is_suffix(path: str | None, wanted: str) -> bool:
    return path is not None and (path == wanted or path.endswith("/" + wanted.lstrip("/")))


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
