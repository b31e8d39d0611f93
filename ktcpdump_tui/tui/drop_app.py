"""Going to drops: this packet's, the next one, the one before; and to what decided them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ktcpdump_tui.trace.navigate import next_drop
from ktcpdump_tui.tui.background import Background
from ktcpdump_tui.tui.trace_app import TraceApp
from ktcpdump_tui.tui.verdict import Verdict

if TYPE_CHECKING:
    from ktcpdump_tui.tui.drops import Drop, DropReader


class DropApp(TraceApp):
    """A TraceApp that knows where packets were dropped, and why."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._drops: DropReader | None = None

    def on_mount(self) -> None:
        """Start the thread (TraceApp's own on_mount is called as well)."""
        self.dropping = Background(self, "drops", self._read_drop, self._dropped, self.fail, at_once=True)
        self._background.append(self.dropping)

    def _read_drop(self, packet: int) -> Drop | None:
        """Find out about the drop of a packet, in the thread for that."""
        from ktcpdump_tui.tui.drops import DropOrder, DropReader

        if self._drops is None:
            self._drops = DropReader(self.open_trace, self.make_values, self.sources)
        return self._drops.read(DropOrder(packet))

    @property
    def verdict(self) -> Verdict:
        """What is said of a drop."""
        return self.main.query_one(Verdict)

    def action_drop(self) -> None:
        """Go to where this packet was dropped, then to what decided it, and back; else to the next drop."""
        no, shown = self.navigator.current, self.verdict.drop
        if not no:
            self.notice("there is no packet yet")
            return
        packet = int(self.trace.heads(no, no)[0]["packet"])
        if self.verdict.display and shown is not None and shown.packet.id == packet:
            if no == shown.no and shown.decided is not None:
                self.go(shown.decided)
                return
            if no == shown.decided:
                self.go(shown.no)
                return
        if packet and self.trace.packet(packet).fate == "dropped":
            self.dropping.order(packet)
        else:
            fate = self.trace.packet(packet).fate if packet else None
            self._to_next(True, f"packet {packet} was not dropped ({fate or 'no end seen'})", wrap=True)

    def action_next_drop(self, forward: bool) -> None:
        """Go to the next drop of any packet, or the one before."""
        self._to_next(forward, "")

    def _to_next(self, forward: bool, said: str, *, wrap: bool = False) -> None:
        shown, no = self.verdict.drop, self.navigator.current
        # The drop's own event may lie before the packet's last one, which next_drop goes by.
        if self.verdict.display and shown is not None and no in (shown.no, shown.decided):
            span = self.trace.packet_span(shown.packet.id)
            no = span[1] if span else no
        found = next_drop(self.trace, no, not forward)
        if found is None and wrap:
            found = next_drop(self.trace, 0)
        if found is None:
            which = "" if not len(self.trace.drops()) else "later " if forward else "earlier "
            self.notice(f"{said + ', and ' if said else ''}no {which}packet was dropped")
            return
        packet = int(self.trace.heads(found, found)[0]["packet"])
        if said:
            self.notice(f"{said}: the next drop is packet {packet}'s")
        self.dropping.order(packet)

    def _dropped(self, packet: int, drop: Drop | None) -> None:
        if not self.shown:
            return
        if drop is None:
            self.notice(f"packet {packet} was not dropped")
            return
        rows = self.navigator.rows
        if rows.only_packet not in (None, drop.packet.id):
            rows.show_only(drop.packet.id)
        self.verdict.show(drop)
        self.go(drop.no)
