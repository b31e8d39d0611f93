"""The few functions of libpcap that the filter needs, called through ctypes.

libpcap is what tcpdump itself uses, so an EXPRESSION means here exactly what it means there. Only the shared
library is needed, no header and no compiler; it is loaded at the first expression, so that a session without
one works where it is missing.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.filter.bpf import BpfInsn
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Link types (<pcap/dlt.h>): Ethernet, and packets that begin with an IPv4 or IPv6 header.
DLT_EN10MB: Final = 1
DLT_RAW: Final = 12

#: What tcpdump's filters return for a match (MAXIMUM_SNAPLEN in tcpdump's netdissect.h).
MAXIMUM_SNAPLEN: Final = 262144

#: As tcpdump reading a file: ``ip broadcast`` needs the mask of one network, and there is none here.
_NETMASK_UNKNOWN: Final = 0xFFFFFFFF

_SONAMES: Final = ("libpcap.so.1", "libpcap.so.0.8")


class Insn(ctypes.Structure):
    """struct bpf_insn."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class Program(ctypes.Structure):
    """struct bpf_program."""

    _fields_ = (("bf_len", ctypes.c_uint), ("bf_insns", ctypes.POINTER(Insn)))


class PacketHeader(ctypes.Structure):
    """struct pcap_pkthdr: struct timeval (two longs), then the captured and the real length in bytes."""

    _fields_ = (
        ("tv_sec", ctypes.c_long),
        ("tv_usec", ctypes.c_long),
        ("caplen", ctypes.c_uint32),
        ("len", ctypes.c_uint32),
    )


class PcapError(Exception):
    """libpcap's own message about an expression."""


#: pcap_compile() was not thread-safe before libpcap 1.8.
_compiling = threading.Lock()


def _names() -> Iterator[str]:
    yield from _SONAMES
    if found := ctypes.util.find_library("pcap"):  # starts ldconfig, and gcc where that finds none
        yield found


@functools.cache
def library() -> ctypes.CDLL:
    """Return the loaded libpcap; UserError with the installing command where there is none."""
    for name in _names():
        try:
            pcap = ctypes.CDLL(name)
        except OSError:
            continue
        _declare(pcap)
        return pcap
    raise UserError(
        f"The filter needs libpcap, and none of {', '.join(_SONAMES)} could be loaded.",
        "apt install libpcap0.8   (Fedora: dnf install libpcap; Arch: pacman -S libpcap)",
    )


def _declare(pcap: ctypes.CDLL) -> None:
    pcap.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
    pcap.pcap_open_dead.restype = ctypes.c_void_p
    pcap.pcap_compile.argtypes = (
        ctypes.c_void_p,
        ctypes.POINTER(Program),
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint32,
    )
    pcap.pcap_geterr.argtypes = (ctypes.c_void_p,)
    pcap.pcap_geterr.restype = ctypes.c_char_p
    pcap.pcap_close.argtypes = (ctypes.c_void_p,)
    pcap.pcap_close.restype = None
    pcap.pcap_freecode.argtypes = (ctypes.POINTER(Program),)
    pcap.pcap_freecode.restype = None
    pcap.pcap_offline_filter.argtypes = (
        ctypes.POINTER(Program),
        ctypes.POINTER(PacketHeader),
        ctypes.c_char_p,
    )
    pcap.bpf_filter.argtypes = (ctypes.POINTER(Insn), ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint)
    pcap.bpf_filter.restype = ctypes.c_uint
    pcap.bpf_validate.argtypes = (ctypes.POINTER(Insn), ctypes.c_int)
    pcap.pcap_lib_version.restype = ctypes.c_char_p


def compile_expression(expression: str, link: int) -> tuple[BpfInsn, ...]:
    """Return the optimised program of ``expression`` for a link type; PcapError with libpcap's message.

    Names of hosts, networks, ports and protocols are resolved as tcpdump does, which can ask a name server.
    """
    if "\0" in expression:
        raise PcapError("the expression contains a null character")
    with _compiled(expression, link) as program:
        return tuple(BpfInsn(i.code, i.jt, i.jf, i.k) for i in program.bf_insns[: program.bf_len])


@contextmanager
def _compiled(expression: str, link: int) -> Iterator[Program]:
    pcap = library()
    program = Program()
    handle = pcap.pcap_open_dead(link, MAXIMUM_SNAPLEN)
    if not handle:
        raise MemoryError("pcap_open_dead")
    try:
        with _compiling:
            status = pcap.pcap_compile(
                handle, ctypes.byref(program), os.fsencode(expression), 1, _NETMASK_UNKNOWN
            )
        if status != 0:
            raise PcapError(pcap.pcap_geterr(handle).decode(errors="replace"))
    finally:
        pcap.pcap_close(handle)
    try:
        yield program
    finally:
        pcap.pcap_freecode(ctypes.byref(program))


class Interpreter:
    """libpcap's own interpreter for one program."""

    def __init__(self, program: Sequence[BpfInsn]) -> None:
        self._pcap = library()
        self._insns = (Insn * len(program))(*(Insn(*insn) for insn in program))
        self._program = Program(len(program), self._insns)

    def valid(self) -> bool:
        """Return bpf_validate()'s verdict."""
        return bool(self._pcap.bpf_validate(self._insns, len(self._insns)))

    def matches(self, packet: bytes, wirelen: int | None = None) -> bool:
        """Return pcap_offline_filter()'s verdict; ``packet`` holds the first of ``wirelen`` bytes."""
        header = PacketHeader(0, 0, len(packet), len(packet) if wirelen is None else wirelen)
        return bool(self._pcap.pcap_offline_filter(ctypes.byref(self._program), ctypes.byref(header), packet))
