"""The running kernel's symbols, from /proc/kallsyms (kernel/kallsyms.c: s_show).

The file has 90,000 to 200,000 lines; they are searched as bytes and indexed with numpy, never split into
Python objects line by line: reading and indexing take about 0.1 s.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.spelling import closest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

KALLSYMS: Final = Path("/proc/kallsyms")

#: nm's letters for code; capital: global, w: weak.
TEXT_KINDS: Final = frozenset("tTwW")

#: What GCC and Clang append to the name of a part or a variant of a function.
SUFFIX: Final = re.compile(r"(?:\.(?:cold|part|isra|constprop|localalias|lto_priv|llvm)(?:\.\d+)*)+\Z")

#: Symbols the tools put beside functions: padding (6.2 and later), static call trampolines, listings.
NOISE: Final = re.compile(r"__(?:pfx|cfi|SCT__|SCK__|ksymtab|crc)_|__UNIQUE_ID|\.L")

#: "Modules" that own no code a probe could be put on.
PSEUDO_MODULES: Final = frozenset({"bpf", "__builtin__ftrace", "__builtin__kprobes"})

_HEX_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Symbol:
    """One line of kallsyms. ``size`` is in bytes up to the next symbol, so it includes padding."""

    name: str
    address: int
    kind: str
    module: str | None
    size: int

    @property
    def end(self) -> int:
        """First address after the symbol."""
        return self.address + self.size

    @property
    def is_text(self) -> bool:
        """Whether the symbol names code."""
        return self.kind in TEXT_KINDS

    @property
    def base_name(self) -> str:
        """The function's name in the source: without ``.cold``, ``.isra.0`` and the like."""
        return SUFFIX.sub("", self.name)

    @property
    def qualified(self) -> str:
        """``module:name``, or the name alone for the kernel itself."""
        return f"{self.module}:{self.name}" if self.module else self.name

    def __contains__(self, address: int) -> bool:
        return self.address <= address < self.end


class Kallsyms:
    """A searchable copy of /proc/kallsyms; the symbols do not follow modules loaded later."""

    def __init__(self, text: bytes) -> None:
        """Take the file's bytes: lines of ``%016lx %c %s``, for modules with a tab and ``[%s]``."""
        self.text = text if text.endswith(b"\n") or not text else text + b"\n"

    @classmethod
    def read(cls, path: Path = KALLSYMS) -> Kallsyms:
        """Read the running kernel's symbols. Raises UserError where addresses are hidden from us."""
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the kernel's symbols: {path}: {error.strerror}") from error
        found = cls(text)
        if not found.shows_addresses:
            raise hidden_addresses(path)
        return found

    @cached_property
    def shows_addresses(self) -> bool:
        """Whether addresses are real, not the zeros kptr_restrict puts in their place."""
        # per-CPU symbols may begin at 0, so the first lines prove nothing.
        text = self._line_of("_stext") or self._line_of("_text")
        return bool(text and int(text[:_HEX_DIGITS], 16))

    # ---- by name

    def find(self, name: str, module: str | None = None) -> list[Symbol]:
        """Return every symbol called ``name``, in the file's order; ``vmlinux`` as module is the kernel."""
        needle = b" " + name.encode()
        found = [self._symbol(at) for at in self._occurrences(needle + b"\n", needle + b"\t")]
        if module is not None:
            found = [one for one in found if (one.module or "vmlinux") == module]
        return found

    def find_many(self, names: Collection[str]) -> list[Symbol]:
        """Return the code symbols called any of ``names`` (a set, best), in order of address."""
        lines = self._text_order[1]
        return [
            self._symbol(int(self._starts[lines[at]]) + _HEX_DIGITS + 2)
            for at, name in enumerate(self._text_names)
            if name in names
        ]

    @cached_property
    def repeated_names(self) -> frozenset[str]:
        """The names that more than one piece of code has, in the kernel and its modules together."""
        counts = Counter(self._text_names)
        return frozenset(name for name, count in counts.items() if count > 1)

    def address_of(self, name: str) -> int | None:
        """Return the address of the kernel's own symbol ``name`` (the first one), or None."""
        line = self._line_of(name)
        return int(line[:_HEX_DIGITS], 16) if line else None

    def parts(self, name: str, module: str | None = None) -> list[Symbol]:
        """Return the code split off or varied from ``name``: NAME.cold, NAME.part.N, NAME.isra.N.cold ..."""
        needle = b" " + name.encode() + b"."
        found = [self._symbol(at) for at in self._occurrences(needle)]
        return [
            one
            for one in found
            if one.is_text
            and SUFFIX.fullmatch(one.name, len(name))
            and (module is None or (one.module or "vmlinux") == module)
        ]

    def glob(self, pattern: str, module: str | None = None) -> list[Symbol]:
        """Return the functions whose name matches the shell pattern, in order of address; no padding symbols.

        A part (``.cold`` ...) is returned only where the pattern itself has a dot.
        """
        expression = fnmatch.translate(pattern).removeprefix("(?s:").removesuffix(r")\Z")
        expression = expression.replace(".*", r"[^\s]*").replace("(?>", "(?:")
        line = re.compile(rb"^[0-9a-f]{16} [tTwW] (?:" + expression.encode() + rb")(?=[\n\t])", re.MULTILINE)
        found = [self._symbol(match.start() + _HEX_DIGITS + 2) for match in line.finditer(self.text)]
        return sorted(
            (
                one
                for one in found
                if one.module not in PSEUDO_MODULES
                and (module is None or (one.module or "vmlinux") == module)
                and ("." in pattern or "." not in one.name)
                and (pattern.startswith("__") or not NOISE.match(one.name))
            ),
            key=lambda one: one.address,
        )

    def nearest(self, name: str, count: int = 5) -> list[str]:
        """Return the names of functions that ``name`` may have been meant to be, the likeliest first."""
        starts = self._starts[self._is_text]
        ends = self._name_ends[self._is_text]
        return closest(name, self.text, starts + _HEX_DIGITS + 3, ends, count, unwanted=NOISE)

    # ---- by address

    def lookup(self, address: int) -> tuple[Symbol, int] | None:
        """Return the code symbol ``address`` lies in and the offset in it, or None outside of all code.

        Of several names for one address the kernel lists the one it prefers first (scripts/kallsyms.c:
        global before weak, fewer leading underscores first); so do we.
        """
        addresses, lines = self._text_order
        at = int(np.searchsorted(addresses, np.uint64(address), side="right")) - 1
        if at < 0:
            return None
        first = int(np.searchsorted(addresses, addresses[at], side="left"))
        symbol = self._symbol(int(self._starts[lines[first]]) + _HEX_DIGITS + 2)
        offset = address - symbol.address
        return (symbol, offset) if offset < symbol.size else None

    def symbolise(self, address: int) -> str | None:
        """Return ``symbol``, or ``symbol+OFFSET`` (decimal), for an address in code; None elsewhere."""
        found = self.lookup(address)
        if found is None:
            return None
        symbol, offset = found
        return f"{symbol.name}+{offset}" if offset else symbol.name

    def size_at(self, address: int) -> int:
        """Return the bytes from ``address`` to the next symbol; 0 where there is none."""
        after = int(np.searchsorted(self._boundaries, np.uint64(address), side="right"))
        return int(self._boundaries[after]) - address if after < len(self._boundaries) else 0

    def functions(self) -> Iterator[Symbol]:
        """Yield every code symbol in order of address. For tests and listings: 50,000 objects."""
        for line in self._text_order[1]:
            yield self._symbol(int(self._starts[line]) + _HEX_DIGITS + 2)

    def listing(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """Return each line's address, and where in ``text`` its name begins and ends, in the file's order."""
        return self._addresses, self._starts + _HEX_DIGITS + 3, self._name_ends

    # ---- the index

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.text, np.uint8)

    @cached_property
    def _line_ends(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._bytes == ord("\n"))

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([np.zeros(1, np.int64), self._line_ends[:-1] + 1])[: len(self._line_ends)]

    @cached_property
    def _name_ends(self) -> NDArray[np.int64]:
        """Where each line's name ends: at the tab before ``[module]``, else at the line's end."""
        ends = self._line_ends.copy()
        tabs = np.flatnonzero(self._bytes == ord("\t"))
        ends[np.searchsorted(self._line_ends, tabs)] = tabs
        return ends

    @cached_property
    def _addresses(self) -> NDArray[np.uint64]:
        digits = self._bytes[self._starts[:, None] + np.arange(_HEX_DIGITS)]
        nibbles = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0")).astype(np.uint8)
        whole = np.ascontiguousarray(nibbles[:, 0::2] << 4 | nibbles[:, 1::2])
        return whole.view(">u8").ravel().astype(np.uint64)

    @cached_property
    def _is_text(self) -> NDArray[np.bool_]:
        kinds = self._bytes[self._starts + _HEX_DIGITS + 1]
        return np.isin(kinds, np.frombuffer(b"tTwW", np.uint8))

    @cached_property
    def _text_order(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Addresses of code, sorted, and the line each comes from (the file's order where equal)."""
        lines = np.flatnonzero(self._is_text)
        addresses = self._addresses[lines]
        order = np.argsort(addresses, kind="stable")
        return addresses[order], lines[order]

    @cached_property
    def _text_names(self) -> list[str]:
        lines = self._text_order[1]
        starts = (self._starts[lines] + _HEX_DIGITS + 3).tolist()
        ends = self._name_ends[lines].tolist()
        text = self.text.decode("latin-1")
        return [text[low:high] for low, high in zip(starts, ends, strict=True)]

    @cached_property
    def _boundaries(self) -> NDArray[np.uint64]:
        return distinct(self._addresses)

    def _line_of(self, name: str) -> bytes | None:
        needle = b" " + name.encode() + b"\n"
        at = self.text.find(needle)
        return self.text[at - _HEX_DIGITS - 2 : at] if at > 0 else None

    def _occurrences(self, *needles: bytes) -> list[int]:
        found = []
        for needle in needles:
            at = self.text.find(needle)
            while at >= 0:
                # a name has no blank in it, so the blank before it is the one after the letter
                found.append(at)
                at = self.text.find(needle, at + 1)
        return sorted(found)

    def _symbol(self, blank: int) -> Symbol:
        """Return the symbol of the line whose second blank is at ``blank``."""
        address = int(self.text[blank - _HEX_DIGITS - 2 : blank - 2], 16)
        name, _, module = self.text[blank + 1 : self.text.find(b"\n", blank)].partition(b"\t")
        return Symbol(
            name.decode(errors="replace"),
            address,
            chr(self.text[blank - 1]),
            module.strip(b"[]").decode() or None,
            self.size_at(address),
        )


def hidden_addresses(path: Path = KALLSYMS) -> UserError:
    """Return the error for a kernel that shows zeros in place of addresses."""
    if os.geteuid() != 0:
        return UserError(
            f"{path} hides the kernel's addresses from users", "run it as root: sudo ktcpdump-tui …"
        )
    return UserError(
        f"{path} hides the kernel's addresses even from root (kernel.kptr_restrict is 2)",
        "sysctl -w kernel.kptr_restrict=1",
    )
