"""Where the fields our BPF program reads are, in the running kernel: from BTF, never from a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ktcpdump_tui.kernel.btf import Btf


@dataclass(frozen=True, slots=True)
class KernelLayout:
    """Byte offsets in the running kernel's structures (include/linux/skbuff.h and others).

    ``macros`` are names and values for the C program; ``vlan_present`` is a C expression over ``skb``.
    ``consume_has_location`` and ``kfree_has_reason`` say what the tracepoints tell.
    """

    skb_bytes: int
    macros: dict[str, int]
    vlan_present: str
    consume_has_location: bool
    kfree_has_reason: bool

    @classmethod
    def from_btf(cls, btf: Btf) -> KernelLayout:
        """Look the fields up; KeyError where this kernel has no such field."""
        skb = btf.struct("sk_buff")
        macros = {
            f"O_{name.upper()}": skb.offset(name)
            for name in ("len", "dev", "sk", "head", "data", "tail", "end", "mac_header", "network_header")
        }
        macros["O_PROTOCOL"] = skb.offset("protocol")
        macros["O_MARK"] = skb.offset("mark")
        macros["O_VLAN_PROTO"] = skb.offset("vlan_proto")
        macros["O_VLAN_TCI"] = skb.offset("vlan_tci")
        device = btf.struct("net_device")
        macros["O_DEV_NAME"] = device.offset("name")
        macros["O_DEV_IFINDEX"] = device.offset("ifindex")
        macros["O_DEV_NET"] = device.offset("nd_net")
        macros["O_SOCK_NET"] = btf.struct("sock").offset("__sk_common.skc_net")
        macros["O_NET_INUM"] = btf.struct("net").offset("ns.inum")
        present = skb.bitfield("vlan_present")
        if present is None:
            vlan_present = "FIELD(u32, skb, O_VLAN_PROTO)"  # since 6.2 the pair is zero where there is no tag
        else:
            byte, bit = divmod(present[0], 8)
            vlan_present = f"(FIELD(u8, skb, {byte}) & {1 << bit})"
        return cls(
            skb_bytes=skb.size,
            macros=macros,
            vlan_present=vlan_present,
            consume_has_location=btf.has_member("trace_event_raw_consume_skb", "location"),
            kfree_has_reason=btf.has_member("trace_event_raw_kfree_skb", "reason"),
        )
