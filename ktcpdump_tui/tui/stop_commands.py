"""The commands about where to stop and what to show there: gdb's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.expressions import compile_expression
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.tui.source_view import SourceView
from ktcpdump_tui.tui.stops import place

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.tui.app import DebuggerApp
    from ktcpdump_tui.tui.stops import StopPoint

#: The inspector's section of watch expressions.
_WATCHES: Final = 5


def _conditional(argument: str) -> tuple[str, str]:
    """Return what stands before ``if``, and the condition behind it; UsageError where that lacks."""
    parts = re.split(r"(?:^|\s+)if(?=[\s(])", argument, maxsplit=1)
    if len(parts) == 1:
        if re.search(r"(?:^|\s)if$", argument):
            raise UsageError("'if' needs an expression behind it", ":break ip_rcv_core if skb->len > 100")
        return argument.strip(), ""
    return parts[0].strip(), parts[1].strip()


def _location(app: DebuggerApp, text: str) -> str:
    """Return a location in full: no text is the line under the cursor, a number a line of the shown file."""
    view = app.main.query_one(SourceView)
    if (not text or text.isdecimal()) and not view.document.file:
        raise UsageError("no source file is shown", ":break FILE:LINE")
    if not text:
        return f"{view.document.file}:{view.cursor + 1}"
    return f"{view.document.file}:{text}" if text.isdecimal() else text


def _break(app: DebuggerApp, argument: str, *, temporary: bool = False) -> None:
    text, condition = _conditional(argument)
    point = app.navigator.stops.add_break(_location(app, text), condition, temporary=temporary)
    app.show_breakpoints()
    app.notice(
        f"breakpoint set: {point.text}{f' if {condition}' if condition else ''} (number {point.number})"
    )


def _tbreak(app: DebuggerApp, argument: str) -> None:
    _break(app, argument, temporary=True)


def _watch(app: DebuggerApp, argument: str) -> None:
    expression, condition = _conditional(argument)
    if not expression:
        raise UsageError("'watch' needs an expression", ":watch iph->ttl")
    point = app.navigator.stops.add_watch(expression, condition)
    app.show_breakpoints()
    _display(app, expression)
    app.notice(f"watch set: {point.number}, {expression}: c and C stop where it changes")


def _display(app: DebuggerApp, expression: str) -> None:
    compile_expression(expression)
    if expression not in app.watches:
        app.watches.append(expression)
    app.action_section(_WATCHES)


def _undisplay(app: DebuggerApp, expression: str) -> None:
    if expression not in app.watches:
        raise UsageError(f"there is no watch expression {expression}", ":display adds one")
    app.watches.remove(expression)
    app.ask_inspector()


def _unwatch(app: DebuggerApp, expression: str) -> None:
    there = [one for one in app.navigator.stops if one.kind == "watch" and one.text == expression]
    if expression not in app.watches and not there:
        raise UsageError(f"there is no watch expression {expression}", ":watch adds one")
    if there:
        app.navigator.stops.delete(*there)
        app.show_breakpoints()
    if expression in app.watches:
        _undisplay(app, expression)


def _catch(app: DebuggerApp, argument: str) -> None:
    point = app.navigator.stops.add_catch(argument)
    app.notice(f"catch set: {point.number}: c and C stop where packets are dropped")


def _numbered(app: DebuggerApp, argument: str, what: str) -> tuple[StopPoint, str]:
    number, _, rest = argument.partition(" ")
    if not number.isdecimal():
        raise UsageError(f"'{number}' is no breakpoint's number", what)
    return app.navigator.stops.numbered(number), rest.strip()


def _condition(app: DebuggerApp, argument: str) -> None:
    point, condition = _numbered(app, argument, ":condition 1 skb->len > 100")
    app.navigator.stops.set_condition(point, condition)
    app.notice(
        f"{point.kind} {point.number} stops if {condition}"
        if condition
        else f"{point.kind} {point.number} now stops always"
    )


def _ignore(app: DebuggerApp, argument: str) -> None:
    point, count = _numbered(app, argument, ":ignore 1 10")
    if not count.isdecimal():
        raise UsageError(f"'{count}' is no count", ":ignore 1 10")
    point.ignore = int(count)
    app.notice(f"{point.kind} {point.number} is passed over the next {point.ignore:,} times")


def _chosen(app: DebuggerApp, argument: str) -> list[StopPoint]:
    stops = app.navigator.stops
    return [stops.numbered(number) for number in argument.split()] or list(stops)


def _enable(app: DebuggerApp, argument: str, *, enabled: bool = True) -> None:
    for point in _chosen(app, argument):
        point.enabled = enabled
    app.show_breakpoints()


def _disable(app: DebuggerApp, argument: str) -> None:
    _enable(app, argument, enabled=False)


def _delete(app: DebuggerApp, argument: str) -> None:
    chosen = _chosen(app, argument)
    if chosen:
        app.navigator.stops.delete(*chosen)
    app.show_breakpoints()


def _info(app: DebuggerApp, argument: str) -> None:
    if argument and not any(word.startswith(argument) for word in ("breakpoints", "watchpoints")):
        raise UsageError(f"there is no info about '{argument}'", ":info break")
    app.action_stops()


def _last(app: DebuggerApp, expression: str) -> None:
    compile_expression(expression.removeprefix("$"))
    app.last_write(expression)


def _change(app: DebuggerApp, expression: str) -> None:
    compile_expression(expression.removeprefix("$"))
    app.next_write(expression)


def _until(app: DebuggerApp, argument: str) -> None:
    if argument:
        _advance(app, argument)
    else:
        app.action_step("until")


def _advance(app: DebuggerApp, argument: str) -> None:
    text, insns = place(app.trace.plan, _location(app, argument))
    app.advance(insns, f"{text} is not reached any more")


COMMANDS: Final[dict[str, Callable[[DebuggerApp, str], None]]] = {
    "break": _break, "tbreak": _tbreak, "watch": _watch, "display": _display, "undisplay": _undisplay,
    "unwatch": _unwatch, "catch": _catch, "condition": _condition, "ignore": _ignore, "enable": _enable,
    "disable": _disable, "delete": _delete, "info": _info, "last": _last, "until": _until,
    "advance": _advance, "change": _change,
}  # fmt: skip
