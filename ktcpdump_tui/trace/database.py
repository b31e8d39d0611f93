"""The connection of one reader of a trace."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace.schema import READ_ERRORS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


class Database:
    """The connection of one reader; every error of SQLite becomes a UserError that names the file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def move(self, connection: sqlite3.Connection, path: Path) -> None:
        """Go on with the same trace in another file."""
        self._connection.close()
        self._connection, self.path = connection, path

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have what is read meanwhile be of one moment."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def all(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except READ_ERRORS as error:
            raise self.damaged(str(error)) from error

    def each(self, statement: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows one by one: all at once may be more than what is made of them."""
        try:
            for row in self._connection.execute(statement, values):  # noqa: UP028 - "yield from" closes the cursor
                yield row
        except READ_ERRORS as error:
            raise self.damaged(str(error)) from error

    def one(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        rows = self.all(statement, values)
        return rows[0] if rows else None

    def damaged(self, why: str) -> UserError:
        """Return the error that says the file is damaged."""
        return UserError(
            f"the trace {self.path} is damaged: {why}", "record it again with -o, or copy it again"
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
