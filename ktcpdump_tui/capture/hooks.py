"""The places in the kernel where a packet's identity is born, split, merged and ended.

Each is probed once, at its entry, and its BPF function (bpf/trace.c) does next to nothing for packets that
are not followed. A kernel without one of the functions loses only what that function tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ktcpdump_tui.kernel.symbols import Kallsyms

#: BPF function -> kernel functions (net/core/skbuff.c, net/core/gro.c, net/ipv4/ip_output.c,
#: net/ipv6/ip6_output.c). All take the skb as first argument (napi_reuse_skb as second), those of two
#: packets the other as second.
HOOKS: Final = {
    "on_copy": ("__copy_skb_header",),
    "on_fragment": ("ip_copy_metadata", "ip6_copy_metadata"),
    "on_merge": ("skb_gro_receive", "skb_gro_receive_list"),
    "on_build": ("__build_skb_around",),
    "on_reuse": ("napi_reuse_skb",),
    "on_release": ("skb_release_head_state",),
}

#: Makes a packet without __build_skb_around (since 6.3): only what it returns is one.
BUILDER: Final = "slab_build_skb"

#: Who calls __copy_skb_header, and what that makes of the packet (model.Packet.origin).
COPIERS: Final = {
    "skb_clone": "clone",
    "__skb_clone": "clone",
    "skb_copy_header": "copy",
    "alloc_skb_for_msg": "copy",
    "skb_segment": "segment",
    "skb_segment_list": "segment",
    "skb_morph": "reassembly",
}


#: What return probes and the function graph tracer put in place of a return address (arch/x86/kernel).
RETURN_TRAMPOLINES: Final = ("arch_rethook_trampoline", "return_to_handler")


def hook_addresses(kallsyms: Kallsyms, entry_of: dict[str, int]) -> tuple[dict[str, list[int]], list[str]]:
    """Return the addresses to probe by BPF function, and the kernel functions this kernel has not.

    ``entry_of`` maps a symbol to the address of its first instruction that may be probed, where that is not
    the symbol's own (an ``endbr64`` comes first).
    """
    found: dict[str, list[int]] = {}
    missing: list[str] = []
    for function, names in HOOKS.items():
        for name in names:
            symbols = [one for one in kallsyms.find(name) if one.is_text and one.module is None]
            if symbols:
                found.setdefault(function, []).append(entry_of.get(name, symbols[0].address))
            else:
                missing.append(name)
    return found, missing


def copy_origins(kallsyms: Kallsyms) -> tuple[tuple[int, int, str], ...]:
    """Return (start, end, origin) of each function that copies an skb header, in run-time addresses."""
    ranges = []
    for name, origin in COPIERS.items():
        ranges += [(one.address, one.end, origin) for one in kallsyms.find(name) if one.is_text]
    return tuple(ranges)


def morph_range(kallsyms: Kallsyms) -> tuple[int, int]:
    """Return (start, end) of skb_morph, (0, 0) where this kernel has none."""
    found = [one for one in kallsyms.find("skb_morph") if one.is_text]
    return (found[0].address, found[0].end) if found else (0, 0)


def return_trampolines(kallsyms: Kallsyms) -> tuple[int, int]:
    """Return where returns go that somebody else watches; 0 for what this kernel has not."""
    first, second = (kallsyms.address_of(name) or 0 for name in RETURN_TRAMPOLINES)
    return first, second
