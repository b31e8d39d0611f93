"""EXPRESSION for packets that are already recorded: libpcap itself decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.filter import bpf, libpcap
from ktcpdump_tui.capture.filter.diagnose import not_in_the_packet, usage_error

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The values of model.Event.link, and libpcap's number for each.
LINKS: Final[Mapping[str, int]] = {"ethernet": libpcap.DLT_EN10MB, "raw": libpcap.DLT_RAW}


class OfflineFilter:
    """An expression that tells which recorded packets it selects.

    UsageError, with libpcap's message and a caret, where the expression is wrong for both link types, or asks
    for what no recorded packet holds (``inbound``). ``never`` holds libpcap's reason for a link type
    whose packets are never selected.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.never: dict[str, str] = {}
        self._interpreters: dict[str, libpcap.Interpreter] = {}
        for link, number in LINKS.items():
            try:
                program = libpcap.compile_expression(expression, number)
            except libpcap.PcapError as error:
                self.never[link] = str(error)
                continue
            if bpf.asks_the_kernel(program):
                raise not_in_the_packet(expression)
            self._interpreters[link] = libpcap.Interpreter(program)
        if not self._interpreters:
            raise usage_error(expression, self.never["ethernet"])

    def matches(self, packet: bytes, link: str = "ethernet", wirelen: int | None = None) -> bool:
        """Tell whether the packet is selected.

        ``packet`` holds the recorded bytes, from the header that ``link`` (``ethernet`` or ``raw``)
        names; ``wirelen`` is the length in bytes of the whole packet where that is more.
        """
        interpreter = self._interpreters.get(link)
        return interpreter is not None and interpreter.matches(packet, wirelen)
