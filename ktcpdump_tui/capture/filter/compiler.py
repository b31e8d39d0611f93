"""EXPRESSION, tcpdump's language, to a filter for packets with an Ethernet header and for those without.

What a filter in the kernel can see of a packet are the first bytes of its linear part, as many as the
expression needs (CompiledFilter.snaplen). Bytes in page fragments are out of reach: to a comparison with
them the packet looks truncated, and does not match, which is what libpcap makes of a truncated packet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from ktcpdump_tui.capture.filter import bpf, libpcap, translate
from ktcpdump_tui.capture.filter.bpf import BpfInsn
from ktcpdump_tui.capture.filter.diagnose import not_in_the_packet, usage_error
from ktcpdump_tui.capture.filter.tunnel import tunnel_c

#: Bytes of each packet that the filter sees at least: an Ethernet header with two tags, an IPv6 header with
#: extensions, a TCP header, and what tunnels put before them.
DEFAULT_SNAPLEN: Final = 256
#: ... and at most: more is not worth copying, and is seldom in the linear part of a packet.
MAX_SNAPLEN: Final = 4096

#: Never matches: ``ret #0``.
_REJECT: Final = (BpfInsn(bpf.RET, 0, 0, 0),)


@dataclass(frozen=True, slots=True)
class CompiledFilter:
    """An expression as classic BPF for both kinds of packet.

    ``ethernet`` is for packets that begin with an Ethernet header, ``raw`` for those that begin with an IPv4
    or IPv6 header. ``never`` holds libpcap's reason ({"ethernet" or "raw": message}) for a kind that the
    expression can never match, such as ``arp`` for raw packets; its program is then ``ret #0``.
    ``snaplen`` is how many bytes of a packet are to be copied for the filter.
    """

    expression: str
    snaplen: int
    ethernet: tuple[BpfInsn, ...]
    raw: tuple[BpfInsn, ...]
    never: dict[str, str] = field(default_factory=dict)

    @property
    def selects_all(self) -> bool:
        """Whether every packet matches, so that no packet byte has to be read."""
        return all(
            bpf.instruction_class(program[0]) == bpf.RET and program[0].k != 0
            for program in (self.ethernet, self.raw)
        )

    @property
    def needed_bytes(self) -> int | None:
        """The bytes from a packet's start that decide the filter; None where the packet itself says how many.

        A packet whose linear part is shorter than the bytes a comparison needs does not match, as in tcpdump.
        """
        needs = [bpf.needed_bytes(program) for program in (self.ethernet, self.raw)]
        return None if None in needs else max(n for n in needs if n is not None)

    @property
    def wants_vlan_tag(self) -> bool:
        """Whether the expression looks at VLAN tags (see ``to_c``)."""
        return bpf.tests_vlan_tag(self.ethernet)

    def to_c(self, prefix: str = "ktd_filter") -> str:
        """Return C source with ``{prefix}_ether`` and ``{prefix}_raw``, for BCC and for gcc alike.

        Both have the signature ``int (const ktd_u8 *pkt, ktd_u32 caplen, ktd_u32 wirelen)``. ``pkt`` is a
        buffer of at least KTD_FILTER_BUFFER bytes (a per-CPU map's value in the kernel) that begins with
        ``caplen`` <= snaplen bytes of the packet; ``wirelen`` is the whole packet's length in bytes.

        The kernel keeps the outermost VLAN tag outside of the packet (skb->vlan_tci). Where
        ``wants_vlan_tag`` is set, the caller has to put it back: 12 bytes of addresses, vlan_proto, vlan_tci,
        the rest. Where it is not set the tag stays out, so that ``icmp`` selects tagged packets as well:
        that is what tcpdump does on a live interface.
        """
        return "\n".join(
            [
                translate.PRELUDE,
                translate.to_c(self.ethernet, f"{prefix}_ether", self.snaplen),
                translate.to_c(self.raw, f"{prefix}_raw", self.snaplen),
            ]
        )


def compile_filter(expression: str, snaplen: int = DEFAULT_SNAPLEN) -> CompiledFilter:
    """Compile ``expression``; UsageError with libpcap's message where it is wrong for both link types.

    UsageError also where it cannot be decided in the kernel: loops (``protochain``), what is not in the
    packet (``inbound``), or bytes beyond the first MAX_SNAPLEN. ``snaplen`` is how many bytes of a packet to
    look at where the expression does not need more; DEFAULT_SNAPLEN is the least.
    """
    programs: dict[str, tuple[BpfInsn, ...]] = {}
    never: dict[str, str] = {}
    for name, link in (("ethernet", libpcap.DLT_EN10MB), ("raw", libpcap.DLT_RAW)):
        try:
            programs[name] = libpcap.compile_expression(expression, link)
        except libpcap.PcapError as error:
            never[name] = str(error)
            programs[name] = _REJECT
    if len(never) == len(programs):
        raise usage_error(expression, never["ethernet"])
    snaplen = max(snaplen, DEFAULT_SNAPLEN)
    for program in programs.values():
        _check(expression, program)
        needed = bpf.needed_bytes(program) or 0
        snaplen = max(snaplen, needed if needed <= MAX_SNAPLEN else bpf.constant_bytes(program))
    return CompiledFilter(expression, min(snaplen, MAX_SNAPLEN), programs["ethernet"], programs["raw"], never)


def filter_c(
    selected: CompiledFilter, tunnel: CompiledFilter | None = None, prefix: str = "ktd_filter"
) -> str:
    """Return the C source of a whole selection: EXPRESSION, and --filter-tunnel's expression where given.

    It defines ``int {prefix}(const ktd_u8 *pkt, ktd_u32 caplen, ktd_u32 wirelen, int ethernet)``, which
    returns 1 for a packet that both select, and for the caller (PREFIX in capitals):

    - ``PREFIX_SNAPLEN``: how many bytes of the packet to copy at most;
    - ``PREFIX_BUFFER``: the size in bytes of the buffer ``pkt`` points to;
    - ``PREFIX_VLAN``: 1 where the tag in skb->vlan_tci has to be put back (see CompiledFilter.to_c);
    - ``PREFIX_ALL``: 1 where every packet is selected, and nothing needs to be copied.
    """
    snaplen = selected.snaplen
    if tunnel is not None:  # both read one buffer
        snaplen = max(snaplen, tunnel.snaplen)
        selected, tunnel = replace(selected, snaplen=snaplen), replace(tunnel, snaplen=snaplen)
    mask = translate.buffer_mask(snaplen)
    parts = [selected.to_c(f"{prefix}_outer")]
    buffer = mask + 1 + translate.SLACK
    inside = "1"
    if tunnel is not None:
        buffer += mask + 1
        inside = f"{prefix}_tunnel(pkt, caplen, wirelen, ethernet)"
        parts += [
            tunnel.to_c(f"{prefix}_inner"),
            tunnel_c(f"{prefix}_tunnel", f"{prefix}_inner", mask),
        ]
    macro = prefix.upper()
    vlan = selected.wants_vlan_tag
    parts.append(
        f"""\
#define {macro}_SNAPLEN {snaplen}
#define {macro}_BUFFER {buffer}
#define {macro}_VLAN {int(vlan)}
#define {macro}_ALL {int(selected.selects_all and tunnel is None)}
KTD_INLINE int {prefix}(const ktd_u8 *pkt, ktd_u32 caplen, ktd_u32 wirelen, int ethernet)
{{
	if (caplen > {snaplen}) caplen = {snaplen};
	if (!(ethernet ? {prefix}_outer_ether(pkt, caplen, wirelen) : {prefix}_outer_raw(pkt, caplen, wirelen)))
		return 0;
	return {inside};
}}
"""
    )
    return "\n".join(parts)


def _check(expression: str, program: tuple[BpfInsn, ...]) -> None:
    """Refuse what the translated filter could not decide as libpcap would."""
    if bpf.jumps_backwards(program):
        raise usage_error(
            expression,
            "protochain needs a loop, and a filter in the kernel has none",
            "Name the header instead: 'ip6 proto 43', or compare its bytes: 'ip6[6] == 43'.",
            ("protochain",),
        )
    if bpf.asks_the_kernel(program):
        raise not_in_the_packet(expression)
    needed = bpf.constant_bytes(program)
    if needed > MAX_SNAPLEN:
        raise usage_error(
            expression,
            f"it compares byte {needed - 1} of the packet, but only the first {MAX_SNAPLEN} can be looked at",
            "Compare bytes nearer to the packet's start.",
        )
