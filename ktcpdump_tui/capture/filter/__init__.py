"""EXPRESSION: compiled by libpcap, translated to C for the kernel, interpreted by libpcap for a replay."""

from ktcpdump_tui.capture.filter.bpf import BpfInsn
from ktcpdump_tui.capture.filter.compiler import DEFAULT_SNAPLEN, CompiledFilter, compile_filter, filter_c
from ktcpdump_tui.capture.filter.offline import OfflineFilter

__all__ = ["DEFAULT_SNAPLEN", "BpfInsn", "CompiledFilter", "OfflineFilter", "compile_filter", "filter_c"]
