"""The bottom line: what is going on, how much there is, what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.text import Text
from textual.widget import Widget

from ktcpdump_tui.tui.line_view import palette_of, printable


@dataclass(frozen=True)
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
    """Draws a ``Status``; the most important first, so that narrow terminals lose only the rest."""

    DEFAULT_CSS = "StatusBar { height: 1; background: $panel; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.status = Status()

    def show(self, status: Status) -> None:
        """Show it."""
        if status != self.status:
            self.status = status
            self.refresh()

    def render(self) -> Text:
        """Lay it out."""
        palette, status = palette_of(self), self.status
        base, dim = palette["status"], palette["status_dim"]
        kind = {"live": "live", "paused": "paused"}.get(status.mode, "ended")
        text = Text(no_wrap=True, overflow="ellipsis", style=base)
        text.append(f" {status.mode.upper()} ", palette[f"status_{kind}"])
        if status.new:
            text.append(f" +{status.new:,} new ", palette["status_paused"])
        text.append(f" {status.position:,}/{status.events:,}", base)
        if status.events:
            text.append(f" {100 * status.position // status.events}%", dim)
        lost = sum(status.lost.values())
        if lost:
            causes = ", ".join(f"{cause} {number:,}" for cause, number in status.lost.items() if number)
            text.append(" ")
            text.append(f" LOST {lost:,}: {printable(causes)} ", palette["status_lost"])
        else:
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
        hint = "? help "
        room = self.size.width - text.cell_len - len(hint)
        text.append(" " * room + hint if room > 0 else " " * max(0, room + len(hint)), dim)
        return text
