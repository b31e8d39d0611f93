"""Turning what the DWARF readers raise on damaged files into the sentence a user reads."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: pyelftools lets all of these out when the bytes do not make sense: it indexes, looks up and compares
#: what it has read without checking it first.
DAMAGE: Final = (
    ELFError,
    DWARFError,
    ConstructError,
    struct.error,
    ValueError,
    LookupError,
    AssertionError,
    AttributeError,
    TypeError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
    MemoryError,
)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Raise UserError saying that ``what`` in ``path`` cannot be read where the body meets damaged data."""
    try:
        yield
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(
            f"{path}: cannot read {what}: the file is damaged or of a form this version does not know "
            f"({type(error).__name__}: {error})",
            "fetch the debug file again, or name another with -d",
        ) from error
