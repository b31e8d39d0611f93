"""What JSON lines do not say and a trace has: frames, packet identities, the kind of the first header."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ktcpdump_tui import arch

if TYPE_CHECKING:
    from ktcpdump_tui.model import Instruction

_ENDBR64_BYTES: Final = 4

#: An skb's address that was silent for so long and begins its way again is another packet, in ns.
_SILENCE: Final = 1_000_000_000

_ETHERTYPES: Final = {0x0800: 4, 0x86DD: 6}
_OTHER_ETHERTYPES: Final = (0x0806, 0x8100, 0x88A8)


class CallStacks:
    """Follows the stack pointer to find each event's CFA: at a function's entry it is rsp + 8."""

    def __init__(self) -> None:
        self._stacks: dict[int, list[tuple[int, tuple[str | None, str]]]] = {}
        self._begins_at_0: set[tuple[str | None, str]] = set()

    def cfa(self, instruction: Instruction, rsp: int) -> int:
        """Return the CFA of an event of ``instruction`` with that stack pointer; 0 where it is not known."""
        function = (instruction.module, instruction.symbol.partition(".cold")[0])
        frames = self._stacks.setdefault(rsp // arch.STACK_SIZE, [])
        while frames and frames[-1][0] <= rsp:
            frames.pop()  # it has returned: the stack is shorter than its frame
        if instruction.offset == 0 and function[1] == instruction.symbol:
            self._begins_at_0.add(function)
        entered = instruction.offset == 0 or (
            instruction.offset == _ENDBR64_BYTES and function not in self._begins_at_0
        )
        if entered and function[1] == instruction.symbol:
            cfa = rsp + arch.ENTRY_CFA_OFFSET
            while frames and frames[-1][0] <= cfa:
                frames.pop()
            frames.append((cfa, function))
            return cfa
        return next((cfa for cfa, known in reversed(frames) if known == function), 0)


@dataclass(slots=True)
class _Life:
    id: int
    first_pc: int
    last_ts: int
    identity: tuple[object, ...]


class PacketIds:
    """Numbers packets by their skb's address, which the kernel gives to another packet sooner or later.

    That has happened where the way begins again (the packet's first instruction) and either nothing was
    heard of the address for a second, or the headers are another packet's.
    """

    def __init__(self) -> None:
        self._lives: dict[int, _Life] = {}
        self._count = 0

    def of(self, skb: int, pc: int, ts: int, packet: bytes) -> int:
        """Return the id of the packet at ``skb`` (0 for no skb) in an event at ``pc``, ``ts`` in ns."""
        if not skb:
            return 0
        life = self._lives.get(skb)
        identity = identity_of(packet)
        again = life is not None and pc == life.first_pc
        if life is None or (again and (ts - life.last_ts > _SILENCE or identity != life.identity)):
            self._count += 1
            life = self._lives[skb] = _Life(self._count, pc, ts, identity)
        life.last_ts = max(life.last_ts, ts)
        return life.id


def link_of(packet: bytes) -> str:
    """Return ``ethernet`` or ``raw`` for the bytes of a packet, by what its first bytes look like."""
    if len(packet) >= 15:
        kind = int.from_bytes(packet[12:14], "big")
        if _ETHERTYPES.get(kind) == packet[14] >> 4 or kind in _OTHER_ETHERTYPES:
            return "ethernet"
    return "raw" if packet and packet[0] >> 4 in (4, 6) else "ethernet"


def identity_of(packet: bytes) -> tuple[object, ...]:
    """Return what tells a packet from others and survives routing and address translation.

    IPv4's identification (RFC 791) or IPv6's flow label (RFC 8200), and the numbers after the ports: TCP's
    sequence number, ICMP's identifier and sequence number.
    """
    ip = packet[14:] if link_of(packet) == "ethernet" else packet
    if len(ip) >= 20 and ip[0] >> 4 == 4:
        protocol, mark, transport = ip[9], ip[4:6], ip[(ip[0] & 15) * 4 :]
    elif len(ip) >= 40 and ip[0] >> 4 == 6:
        protocol, mark, transport = ip[6], ip[1:4], ip[40:]
    else:
        return (packet[:32],)
    if len(transport) >= 8 and protocol in (1, 6, 58):
        return protocol, mark, struct.unpack(">I", transport[4:8])
    return protocol, mark, len(transport)
