"""Turning what the DWARF readers raise on damaged files into the sentence a user reads."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What reading bytes that do not make sense ends in: ours indexes and unpacks, pyelftools also looks up,
#: compares and asserts without checking first.
_DAMAGE: Final = (
    struct.error,
    ValueError,
    LookupError,
    AssertionError,
    AttributeError,
    TypeError,
    ArithmeticError,
    # What pyelftools says of a damaged file that claims a form it does not know: a sentence, no traceback.
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
    except Exception as error:
        # pyelftools' own exceptions are told by their module: importing it would cost every start 40 ms.
        if not isinstance(error, _DAMAGE) and not type(error).__module__.startswith("elftools."):
            raise
        raise UserError(
            f"{path}: cannot read {what}: the file is damaged or of a form this version does not know "
            f"({type(error).__name__}: {error})",
            "fetch the debug file again, or name another with -d",
        ) from error
