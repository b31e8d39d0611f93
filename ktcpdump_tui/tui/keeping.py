"""Saving and exporting from the screen, in a thread."""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.trace.postfilter import PostFilter
from ktcpdump_tui.tui.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App

    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.list_filter import ListFilter

    #: Gives the numbers of the events wanted, ascending; None for all that are there. The second is called
    #: now and then with the number of the event looked at last, and raises where the work is given up.
    Wanted = Callable[[Trace, Callable[[int], None]], Array | None]

#: Seconds between looks at whether the work was given up.
_LOOK: Final = 0.2

#: What ``:save`` calls a trace.
TRACE_SUFFIX: Final = ".ktrace"


class CancelledError(Exception):
    """The work was given up on request."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file to be written: ``verb`` is ``save`` or ``export``, ``what`` says of which events in words."""

    verb: str
    path: Path
    what: str
    wanted: Wanted
    watches: tuple[str, ...] = ()


class Keeping:
    """Writes one file after the other; ``look`` tells how far the one being written is."""

    def __init__(
        self,
        app: App[Any],
        open_trace: Callable[[], Trace],
        done: Callable[[Job, int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._open_trace = open_trace
        self._failed = failed
        self._cancelled = threading.Event()
        self._progress = ""
        self._thread = Background(app, "saving", self._work, done, self._fail, newest=False)

    @property
    def busy(self) -> bool:
        """Whether a file is being written."""
        return self._thread.busy

    @property
    def progress(self) -> str:
        """How far it is, in words; empty where nothing is written."""
        return self._progress if self.busy else ""

    def order(self, job: Job) -> None:
        """Have a file written."""
        self._cancelled.clear()
        self._thread.order(job)

    def cancel(self) -> None:
        """Give up what is being written; the file is not there then."""
        self._cancelled.set()

    def close(self) -> None:
        """End the thread."""
        self.cancel()
        self._thread.close()

    def _work(self, job: Job) -> int:
        from ktcpdump_tui.export import Showing, export
        from ktcpdump_tui.trace.saving import save

        def tell(done: int, of: int | None) -> None:
            self._progress = f"{job.verb} {job.path.name}: {done:,}" + (f" of {of:,} events" if of else "")
            if self._cancelled.is_set():
                raise CancelledError(f"{job.verb} {job.path} was given up")

        self._progress = f"{job.verb} {job.path.name} …"
        try:
            with self._open_trace() as trace:
                numbers = job.wanted(trace, lambda no: tell(no, len(trace)))
                if job.verb == "save":
                    return save(trace, job.path, numbers, tell)
                showing = Showing.of(trace, job.watches)
                return export(trace, job.path, None if numbers is None else numbers.tolist(), tell, showing)
        finally:
            self._progress = ""

    def _fail(self, error: BaseException) -> None:
        self._failed(UsageError(str(error)) if isinstance(error, CancelledError) else error)


def take_apart(argument: str) -> tuple[str, str]:
    """Return the file's name (in quotes where it has blanks) and what follows it.

    >>> take_apart("'my trace.ktrace' packet 3")
    ('my trace.ktrace', 'packet 3')
    """
    try:
        name, *rest = shlex.split(argument)
    except ValueError as error:
        raise UsageError(f"{argument}: {error}", "put a name with blanks in quotes") from None
    return name, " ".join(rest)


def job(
    verb: str, argument: str, *, force: bool, shown: ListFilter, listed: str, watches: tuple[str, ...] = ()
) -> Job:
    """Return what ``:save`` or ``:export`` with ``argument`` means; ``listed`` is the filter of the list.

    Raises UsageError and UserError before anything is begun.
    """
    from ktcpdump_tui.trace.saving import check_new

    name, selection = take_apart(argument)
    path = Path(name)
    if path.expanduser().is_dir():
        check_new(path)
    if verb == "save" and not path.suffix:
        path = path.with_name(path.name + TRACE_SUFFIX)
    if verb == "save" and path.suffix != TRACE_SUFFIX:
        raise UsageError(f"{name}: a saved trace is a {TRACE_SUFFIX}", f":export {name} writes other formats")
    if verb == "export" and path.suffix == TRACE_SUFFIX:
        raise UsageError(f"{name}: this is what traces are called", f":save {name}")
    path = check_new(path, replace_it=force)
    if verb == "export":
        from ktcpdump_tui.export import check_export

        check_export(path)
    selection = selection or listed
    if selection in ("", "all"):
        return Job(verb, path, "events", lambda _trace, _look: None, watches)
    criteria = shown.check(selection)
    judge = shown.judge(criteria)

    def wanted(trace: Trace, look: Callable[[int], None]) -> Array:
        selected = PostFilter(trace, criteria, judge)
        while not selected.scan(_LOOK):
            look(selected.scanned)
        if not len(selected):
            raise UsageError(f"no event is selected by {selection}", f":{verb} FILE all")
        return selected.numbers(0, len(selected))

    return Job(verb, path, f"events ({selection})", wanted, watches)
