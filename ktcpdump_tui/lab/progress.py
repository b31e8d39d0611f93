"""Progress of the lab on stderr: lines and bars that vanish when done."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Progress:
    """Says on stderr what the lab is doing; on a terminal with bars."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(f"lab: {text}", markup=False, soft_wrap=True)

    @contextmanager
    def bars(self) -> Iterator[Callable[[str, float | None, str], None]]:
        """Show bars while the context lasts.

        What is yielded sets one of them: name, percent (None: unknown), what is being done.
        """
        columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[doing]}"))
        with Bars(*columns, TimeElapsedColumn(), console=self.console, transient=True) as shown:
            tasks: dict[str, TaskID] = {}

            def put(name: str, percent: float | None, doing: str) -> None:
                if name not in tasks:
                    tasks[name] = shown.add_task(name, total=100.0, doing=doing)
                total = None if percent is None else 100.0
                shown.update(tasks[name], completed=percent or 0.0, total=total, doing=doing)
                if percent == 100.0 and doing == "ready":
                    shown.stop_task(tasks[name])

            yield put
