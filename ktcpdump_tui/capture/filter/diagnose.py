"""Where in an EXPRESSION the mistake is.

libpcap tells what is wrong, and not where. Its message often quotes the word; for a plain "syntax error" the
first word is sought after which no continuation could make the expression right.
"""

from __future__ import annotations

import re
from typing import Final

from ktcpdump_tui.capture.filter import libpcap
from ktcpdump_tui.errors import UsageError

_WORD: Final = re.compile(r"[()\[\]]|[!<>=]=|<<|>>|&&|\|\||[^\s()\[\]!<>=&|]+|[!<>=&|]")

#: Something of each kind that the grammar may expect next (pcap-filter(7)), followed by enough to end it.
_CONTINUATIONS: Final = (
    "",
    " and ip",
    " ip",
    " 1",
    " 10.0.0.1",
    " ::1",
    " 1-2",
    " 01:02:03:04:05:06",
    " host 10.0.0.1",
    " net 10.0.0.0 mask 255.0.0.0",
    " mask 255.0.0.0",
    " port 1",
    " proto 1",
    " broadcast",
    " == 1",
    " 0] == 1",
    "] == 1",
    ":1] == 1",
    " + 1 == 1",
    " + 1] == 1",
    " tcp",
    " tcp[0] == 1",
)
_MAX_WORDS: Final = 64
#: How much of the expression is shown, around the mistake.
_MAX_COLUMNS: Final = 100


def usage_error(
    expression: str, message: str, remedy: str | None = None, words: tuple[str, ...] = ()
) -> UsageError:
    """Return the error for ``expression``: the message, the expression, and a caret where that can be told.

    ``words`` are what to point at; without them the place is worked out from libpcap's message.
    """
    place = _find_word(expression, words) if words else find_place(expression, message)
    start = max((place or 0) - _MAX_COLUMNS // 2, 0) if len(expression) > _MAX_COLUMNS else 0
    lines = [f"Filter expression: {message}.", f"  {_printable(expression[start : start + _MAX_COLUMNS])}"]
    if place is not None:
        lines.append(f"  {' ' * (place - start)}^")
    return UsageError("\n".join(lines), remedy or "The language is described in pcap-filter(7).")


def not_in_the_packet(expression: str) -> UsageError:
    """Return the error for an expression that reads what only a live kernel knows of a packet."""
    return usage_error(
        expression,
        "the expression asks for something that is not in the packet",
        "Leave it out; --ifname, --netns and --mark select by what the kernel knows of a packet.",
        ("inbound", "outbound", "ifindex"),
    )


def find_place(expression: str, message: str) -> int | None:
    """Return the index of the character that libpcap's ``message`` is about, or None."""
    if "syntax error" in message:
        return _first_impossible_word(expression)
    quoted = re.findall(r"'([^']+)'|\"([^\"]+)\"", message)
    named = [single or double for single, double in quoted]
    named += re.findall(r"(?:illegal (?:token|char)|unknown \w+|number|tag|label|type):? (\S+)", message)
    return _find_word(expression, tuple(word.strip("'\"") for word in named))


def _find_word(expression: str, words: tuple[str, ...]) -> int | None:
    for word in words:
        match = re.search(rf"(?<![\w.:-]){re.escape(word)}(?![\w.:-])", expression)
        if match:
            return match.start()
    return None


def _first_impossible_word(expression: str) -> int | None:
    """Return where the first word begins that cannot follow the words before it.

    The end of the expression where every word could, but something is missing.
    """
    words = list(_WORD.finditer(expression))
    if len(words) > _MAX_WORDS:
        return None
    for word in words:
        if not _can_go_on(expression[: word.end()]):
            return word.start()
    return len(expression.rstrip())


def _can_go_on(beginning: str) -> bool:
    """Tell whether some continuation makes the beginning an expression, whatever it may mean."""
    missing = max(beginning.count("(") - beginning.count(")"), 0)
    for continuation in _CONTINUATIONS:
        for closing in {missing, 0} if missing else {0}:
            # Brackets of arithmetic close before a comparison, those of the logic after it.
            attempt = beginning + continuation + ")" * closing
            if _is_sentence(attempt) or (closing and _is_sentence(f"{beginning} 1{')' * closing} == 1")):
                return True
    return False


def _is_sentence(expression: str) -> bool:
    """Tell whether the grammar accepts the expression."""
    try:
        libpcap.compile_expression(expression, libpcap.DLT_EN10MB)
    except libpcap.PcapError as error:
        return "syntax error" not in str(error)
    return True


def _printable(expression: str) -> str:
    """Keep the expression on one line with one column per character."""
    return "".join(c if c.isprintable() else " " for c in expression)
