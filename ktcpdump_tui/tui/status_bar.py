"""The bottom line: what is going on, how much there is, what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.text import Text
from textual.widget import Widget

from ktcpdump_tui.tui.line_view import palette_of, printable


@dataclass(frozen=True, slots=True)
class Status:
    """All the status bar shows.

    ``rate`` is events/s, ``lost`` by cause, ``new`` events not seen yet, ``attached`` and ``refused`` probes,
    ``listed`` of the events are those that the post-filter ``listing`` selects, so far if not ``complete``,
    ``truncated`` events of which a part of packet or frame is missing.
    """

    mode: str = "ended"
    position: int = 0
    events: int = 0
    packets: int = 0
    rate: float | None = None
    lost: dict[str, int] = field(default_factory=dict)
    new: int = 0
    only_packet: int | None = None
    listing: str = ""
    listed: int = 0
    complete: bool = True
    log_lines: int = 0
    release: str = ""
    expression: str = ""
    attached: int = 0
    refused: int = 0
    truncated: int = 0


class StatusBar(Widget):
    """Draws a ``Status``; the most important first, so that narrow terminals lose only the rest.

    A notice stands in front of what can be missed for some seconds, and covers of it what has no room.
    """

    DEFAULT_CSS = "StatusBar { height: 1; background: $panel; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.status = Status()
        self.notice = ""

    def show(self, status: Status) -> None:
        """Show it."""
        if status != self.status:
            self.status = status
            self.refresh()

    def say(self, notice: str) -> None:
        """Show a notice (empty: none any more)."""
        if notice != self.notice:
            self.notice = notice
            self.refresh()

    def has_room(self, notice: str) -> bool:
        """Return whether a notice can be shown whole, beside the mode and what was lost."""
        line = Text.assemble(self._mode(), self._lost(causes=False), self._said(notice))
        return len(notice.splitlines()) == 1 and line.cell_len <= self.screen.size.width

    def render(self) -> Text:
        """Lay it out."""
        palette, width = palette_of(self), self.size.width
        said = self._said(self.notice) if self.notice else Text()
        text = Text.assemble(self._mode(), self._position(), self._lost(), said)
        if said and text.cell_len > width:
            text = Text.assemble(self._mode(), self._position(), self._lost(causes=False), said)
        if said and text.cell_len > width:
            text = Text.assemble(self._mode(), self._lost(causes=False), said, self._position())
        text.no_wrap, text.overflow, text.style = True, "ellipsis", palette["status"]
        self._append_rest(text)
        hint = "? help "
        room = width - text.cell_len - len(hint)
        text.append(" " * room + hint if room > 0 else " " * max(0, room + len(hint)), palette["status_dim"])
        return text

    def _mode(self) -> Text:
        kind = {"live": "live", "paused": "paused"}.get(self.status.mode, "ended")
        return Text(f" {self.status.mode.upper()} ", palette_of(self)[f"status_{kind}"])

    def _said(self, notice: str) -> Text:
        palette = palette_of(self)
        return Text.assemble((" ", palette["status"]), (f" {printable(notice)} ", palette["status_notice"]))

    def _position(self) -> Text:
        palette, status = palette_of(self), self.status
        text = Text(style=palette["status"])
        if status.new:
            text.append(f" +{status.new:,} new ", palette["status_paused"])
        text.append(f" {status.position:,}/{status.events:,}")
        if status.events:
            text.append(f" {100 * status.position // status.events}%", palette["status_dim"])
        return text

    def _lost(self, *, causes: bool = True) -> Text:
        """Return what was lost, empty where nothing was."""
        palette, lost = palette_of(self), self.status.lost
        total = sum(lost.values())
        if not total:
            return Text()
        told = ", ".join(f"{printable(cause)} {number:,}" for cause, number in lost.items() if number)
        said = f" LOST {total:,}: {told} " if causes else f" LOST {total:,} "
        return Text.assemble((" ", palette["status"]), (said, palette["status_lost"]))

    def _append_rest(self, text: Text) -> None:
        palette, status = palette_of(self), self.status
        base, dim = palette["status"], palette["status_dim"]
        if not any(status.lost.values()):
            text.append("  lost 0", dim)
        text.append(f"  {status.packets:,} packet" + ("" if status.packets == 1 else "s"), base)
        if status.truncated:
            text.append(f"  {status.truncated:,} truncated", dim)
        if status.only_packet is not None:
            text.append(f"  only packet {status.only_packet}", palette["status_paused"])
        if status.listing:
            count = f"{status.listed:,}" + ("" if status.complete else " …")
            text.append(f"  listed {count}: {printable(status.listing)}", palette["status_paused"])
        if status.rate is not None:
            text.append(f"  {status.rate:,.0f} events/s", base)
        if status.attached or status.refused:
            text.append(f"  {status.attached:,} probes", dim)
            if status.refused:
                text.append(f", {status.refused:,} refused", dim)
        if status.expression:
            text.append("  filter ", dim)
            text.append(printable(status.expression), base)
        text.append(f"  {printable(status.release)}", dim)
        if status.log_lines:
            text.append(f"  log {status.log_lines}", dim)
