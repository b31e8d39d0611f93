"""One BPF program on the entries of thousands of functions at once (BPF_TRACE_KPROBE_MULTI, since 5.18).

The function tracer is told of all of them in one step: a fraction of a second for 1,500 functions, where as
many kprobes take most of a minute; a hit costs less too, and the kernel cleans up when the link is closed,
however the process ended. It needs CONFIG_FPROBE, which Debian's 6.1 has not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: asm/unistd_64.h, uapi/linux/bpf.h.
_SYS_BPF: Final = 321
_PROG_LOAD: Final = 5
_LINK_CREATE: Final = 28
_PROG_TYPE_KPROBE: Final = 2
_TRACE_KPROBE_MULTI: Final = 42
_INSTRUCTION_BYTES: Final = 8
_LOG_BYTES: Final = 1 << 16
#: union bpf_attr as of 6.1 or longer; the kernel wants what it does not know to be zero.
_ATTRIBUTE_BYTES: Final = 128

#: ``r0 = 0; exit``
_EMPTY: Final = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)


def load_program(code: bytes, name: str = "on_entry") -> int:
    """Load BPF instructions (bcc: ``BPF.dump_func``) for ``attach_multi``; return a descriptor.

    The program's context is pt_regs, but what ``ip`` holds differs between kernels (6.12: the address after
    the tracer's call); bpf_get_func_ip(ctx) is the function's address. Raises UserError with the verifier's
    last words.
    """
    instructions = ctypes.create_string_buffer(code, len(code))
    license_ = ctypes.create_string_buffer(b"GPL")
    # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags,
    # prog_name, prog_ifindex, expected_attach_type
    log = ctypes.create_string_buffer(_LOG_BYTES)
    for verbose in (0, 1):  # the log is worth its time only after a failure
        attributes = struct.pack(
            "<IIQQIIQII16sII",
            _PROG_TYPE_KPROBE,
            len(code) // _INSTRUCTION_BYTES,
            ctypes.addressof(instructions),
            ctypes.addressof(license_),
            verbose,
            _LOG_BYTES * verbose,
            ctypes.addressof(log) * verbose,
            0,
            0,
            name.encode()[:15],
            0,
            _TRACE_KPROBE_MULTI,
        )
        descriptor, code_ = _bpf(_PROG_LOAD, attributes)
        if descriptor >= 0:
            return descriptor
    words = log.value.decode(errors="replace").strip().splitlines()
    raise UserError(f"the kernel refuses the BPF program: {words[-1] if words else os.strerror(code_)}")


def attach_multi(program: int, addresses: Sequence[int]) -> int:
    """Run ``program`` at the entries of functions until the descriptor returned is closed.

    Each address is a function's, or that of its function tracer's nop. Raises OSError: EOPNOTSUPP where the
    kernel cannot do it, EINVAL where the function tracer does not trace one of the functions.
    """
    array = (ctypes.c_uint64 * len(addresses))(*addresses)
    # prog_fd, target_fd, attach_type, flags, kprobe_multi: flags, cnt, syms, addrs, cookies
    attributes = struct.pack(
        "<IIIIIIQQQ", program, 0, _TRACE_KPROBE_MULTI, 0, 0, len(addresses), 0, ctypes.addressof(array), 0
    )
    descriptor, code = _bpf(_LINK_CREATE, attributes)
    if descriptor < 0:
        raise OSError(code, os.strerror(code))
    return descriptor


def multi_supported(function: int) -> bool:
    """Tell whether this kernel can do it, by doing it for a moment to the function at ``function``."""
    try:
        program = load_program(_EMPTY, "probe")
    except UserError:
        return False
    try:
        os.close(attach_multi(program, [function]))
    except OSError as error:
        # EINVAL is this function's fault: the kernel knows what was asked for
        return error.errno == errno.EINVAL
    finally:
        os.close(program)
    return True


def _bpf(command: int, attributes: bytes) -> tuple[int, int]:
    """Call bpf(2); return the descriptor, or -1, and the error's number."""
    buffer = ctypes.create_string_buffer(attributes.ljust(_ATTRIBUTE_BYTES, b"\0"), _ATTRIBUTE_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(_SYS_BPF, command, buffer, _ATTRIBUTE_BYTES))
    return descriptor, ctypes.get_errno()
