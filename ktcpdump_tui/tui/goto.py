"""Places one can go to by name: an event, a time, a function, a line, a loss, a drop."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.trace.navigate import at_time, next_drop, next_loss
from ktcpdump_tui.tui.stops import place

if TYPE_CHECKING:
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.navigator import Navigator

_SINCE: Final = re.compile(r"\+?(\d+(?:\.\d+)?)(ns|us|ms|s)")
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?")
_UNITS: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


def goto(trace: Trace, navigator: Navigator, text: str) -> int | frozenset[int]:
    """Return the number of the event meant, or the instructions; UsageError where there is nothing.

    ``1200`` is an event; ``1.5s`` or ``300us`` a time since the capture began, ``14:03:02.5`` one of the
    clock (this machine's time zone); ``loss`` and ``drop`` are the next ones; all else is a location.
    """
    number = text.replace(",", "")
    if number.isdecimal():
        return int(number)
    no = navigator.current
    if text in ("loss", "drop"):
        found = next_loss(trace, no) if text == "loss" else next_drop(trace, no)
        if found is None:
            raise UsageError(f"there is no later {text}", "g goes to the first event, to look from there")
        return found
    ts = _time(trace, text)
    if ts is not None:
        found = at_time(trace, ts)
        if found is None:
            raise UsageError(f"no event is as late as {text}", "G goes to the last event")
        return found
    return place(trace.plan, text)[1]


def _time(trace: Trace, text: str) -> int | None:
    """Return a time as CLOCK_BOOTTIME in ns, None where ``text`` is no time."""
    if match := _SINCE.fullmatch(text):
        return trace.header.started + round(float(match[1]) * _UNITS[match[2]])
    if match := _CLOCK.fullmatch(text):
        offset = trace.header.clock_offset
        day = datetime.datetime.fromtimestamp((trace.header.started + offset) / 1e9).astimezone()
        hour, minute, second = (int(part) for part in match.group(1, 2, 3))
        if hour > 23 or minute > 59 or second > 59:
            raise UsageError(f"{text} is no time of the day", ":goto 14:03:02.5")
        when = day.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return int(when.timestamp()) * 10**9 + int((match[4] or "0").ljust(9, "0")) - offset
    return None
