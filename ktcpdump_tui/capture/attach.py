"""Probes on many addresses: one tracefs event for hundreds of them, one BPF program for all.

A kprobe event may have any number of addresses (Documentation/trace/kprobetrace.rst, "append"): the text
``p:GROUP/EVENT _text+OFFSET`` is written to kprobe_events once per address. Defined, a probe costs nothing;
opening a perf event arms all of an event's addresses; PERF_EVENT_IOC_SET_BPF then starts the program, so
nothing fires before everything is in place. ``_text+OFFSET`` names any code, a module's too, and is exact
where several functions have one name.

Such events outlive their process. Their group's name says whose they are, and each start removes those of
processes that are gone; nobody else's are touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from ktcpdump_tui.capture import owners
from ktcpdump_tui.capture.expedite import expedited, restore
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.tracefs import find_tracefs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    #: Called with (addresses done, addresses in all).
    Progress = Callable[[int, int], None]

#: Addresses per event. The kernel compares each new one with all before it in its event.
EVENT_ADDRESSES: Final = 512

#: Definitions per write: few enough that Ctrl-C and the progress bar do not wait for long.
LINES_PER_WRITE: Final = 16

#: uapi/linux/perf_event.h; asm/unistd_64.h.
_SYS_PERF_EVENT_OPEN: Final = 298
_PERF_TYPE_TRACEPOINT: Final = 2
_PERF_FLAG_FD_CLOEXEC: Final = 8
_PERF_ATTR_BYTES: Final = 128
_PERF_EVENT_IOC_SET_BPF: Final = 0x40042408
_ATTR_DISABLED: Final = 1

#: Why the kernel refuses an address, by what it returns (kernel/kprobes.c: check_kprobe_address_safe,
#: arch_prepare_kprobe; kernel/trace/trace_kprobe.c: __register_trace_kprobe).
REFUSALS: Final = {
    errno.EILSEQ: "not the start of an instruction, or a trap",
    errno.EINVAL: "the kernel allows no probe here (notrace or noinstr code, a static key or a static call)",
    errno.EBUSY: "another tool holds this address",
    errno.ENOENT: "no code there",
    errno.EADDRNOTAVAIL: "no code there",
    errno.EOPNOTSUPP: "this instruction cannot be probed",
    errno.ENOMEM: "the kernel has no memory for another probe",
    errno.ENOSPC: "the kernel has no memory for another probe",
}


@dataclass(slots=True)
class ProbeEvent:
    """One purpose's addresses: any number of tracefs events of at most EVENT_ADDRESSES each.

    ``attached`` are the addresses the kernel took, in order; ``refused`` maps the others to the reason;
    ``descriptors`` are the perf events by tracefs event.
    """

    name: str
    attached: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    descriptors: dict[str, int] = field(default_factory=dict)
    #: The tracefs event of each attached address.
    places: dict[int, str] = field(default_factory=dict)


class KprobeEvents:
    """All probes of this process. Use it in a ``with``: leaving detaches and removes everything."""

    def __init__(self, text_base: int, tracefs: Path | None = None) -> None:
        """Open tracefs and remove what dead processes left; ``text_base`` is the run-time address of _text.

        Raises UserError without tracefs, kprobe events, or the right to write them.
        """
        self.tracefs = tracefs or find_tracefs()
        self.text_base = text_base
        self.group = owners.group_name()
        self._events: list[ProbeEvent] = []
        self._missed_by_removed: dict[str, int] = {}
        path = self.tracefs / "kprobe_events"
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise _not_writable(path, error) from error
        try:
            remove_stale(self.tracefs)
        except BaseException:
            os.close(self._fd)
            raise

    # ---- defining

    def define(
        self,
        name: str,
        addresses: Sequence[int],
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> ProbeEvent:
        """Define probes on ``addresses`` (run-time, distinct); they do nothing yet.

        ``name`` is a C identifier, once per KprobeEvents. What the kernel refuses is reported in the result,
        not raised. ``cancelled`` is asked between writes; true raises KeyboardInterrupt.
        """
        probes = ProbeEvent(name)
        self._events.append(probes)
        for first in range(0, len(addresses), EVENT_ADDRESSES):
            # kprobe_profile lists events without their group: the name alone has to tell whose it is
            event = f"{name}{first // EVENT_ADDRESSES}_{os.getpid()}"
            chunk = addresses[first : first + EVENT_ADDRESSES]
            # named before the first write, so that an interrupt in between leaves nothing behind
            probes.events.append(event)
            for start in range(0, len(chunk), LINES_PER_WRITE):
                if cancelled():
                    raise KeyboardInterrupt
                self._define_some(probes, event, chunk[start : start + LINES_PER_WRITE])
                if progress:
                    progress(min(first + start + LINES_PER_WRITE, len(addresses)), len(addresses))
        return probes

    def _define_some(self, probes: ProbeEvent, event: str, addresses: Sequence[int]) -> None:
        lines = [f"p:{self.group}/{event} {self._place(one)}\n" for one in addresses]
        if self._write("".join(lines)) == 0:
            probes.attached.extend(addresses)
            probes.places |= dict.fromkeys(addresses, event)
            return
        # The kernel stopped at a line it does not say; those before it are defined and now exist already.
        for address, line in zip(addresses, lines, strict=True):
            code = self._write(line)
            if code in (0, errno.EEXIST):
                probes.attached.append(address)
                probes.places[address] = event
            else:
                probes.refused[address] = REFUSALS.get(code, os.strerror(code))

    def _place(self, address: int) -> str:
        if address < self.text_base:
            raise ValueError(f"{address:#x} lies below the kernel's code")
        return f"_text+{address - self.text_base}"

    def _write(self, text: str) -> int:
        """Write to kprobe_events; 0 or the error's number."""
        data = text.encode()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    # ---- attaching

    def attach(self, programs: Mapping[str, int]) -> None:
        """Arm all probes, then start the programs: {name of ``define``: descriptor of a BPF program}.

        Each event needs one perf event, on one CPU: the program is the trace event's and runs on all.
        Raises UserError where the kernel forbids it.
        """
        chosen = [(one, programs[one.name]) for one in self._events if one.name in programs and one.attached]
        for probes, _ in chosen:
            self.arm(probes)
        for probes, program in chosen:
            for descriptor in probes.descriptors.values():
                try:
                    fcntl.ioctl(descriptor, _PERF_EVENT_IOC_SET_BPF, program)
                except OSError as error:
                    raise UserError(
                        f"the kernel does not let a BPF program run on its probes: {error.strerror}",
                        "ktcpdump-tui --check",
                    ) from error

    def arm(self, probes: ProbeEvent) -> None:
        """Let the kernel take these probes' traps, with no program behind them yet."""
        for event in probes.events:
            identity = self.tracefs / "events" / self.group / event / "id"
            try:
                number = int(identity.read_text())
            except FileNotFoundError:
                continue  # every address of it was refused
            probes.descriptors[event] = open_event(number)

    def attached(self, name: str) -> list[int]:
        """Return the addresses that the kernel took of those defined as ``name``."""
        return [address for one in self._events if one.name == name for address in one.attached]

    # ---- counting

    def missed(self) -> dict[str, int]:
        """Return how often probes were hit and could not run, by the name given to ``define``."""
        return {name: missed for name, (_, missed) in self.counts().items()}

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return how often probes ran, and were hit and could not run, by the name given to ``define``.

        From kprobe_profile: a probe is missed when it is hit while another probe's handler runs on that CPU.
        """
        counts = dict.fromkeys((one.name for one in self._events), (0, 0))
        counts |= {name: (0, missed) for name, missed in self._missed_by_removed.items()}
        names = {event: one.name for one in self._events for event in one.events}
        try:
            text = (self.tracefs / "kprobe_profile").read_text()
        except OSError:
            return counts
        for line in text.splitlines():
            fields = line.split()
            if len(fields) == 3 and (name := names.get(fields[0])):
                hits, missed = counts.get(name, (0, 0))  # added meanwhile by another thread
                counts[name] = hits + int(fields[1]), missed + int(fields[2])
        return counts

    # ---- detaching

    def withdraw(self, addresses: Sequence[int]) -> None:
        """Disarm and remove single probes; those beside them in their event go on.

        The kernel takes one address out of an armed event as long as others are left in it
        (kernel/trace/trace_kprobe.c: unregister_trace_kprobe).
        """
        before = self.missed()
        wanted = set(addresses)
        with expedited():
            for probes in self._events:
                here = [one for one in probes.attached if one in wanted]
                probes.attached = [one for one in probes.attached if one not in wanted]
                left = {probes.places[one] for one in probes.attached}
                for event in {probes.places[one] for one in here} - left:
                    if event in probes.descriptors:
                        os.close(probes.descriptors.pop(event))
                    self._write(f"-:{self.group}/{event}\n")
                    probes.events.remove(event)
                for one in here:
                    event = probes.places.pop(one)
                    if event in left:
                        self._write(f"-:{self.group}/{event} {self._place(one)}\n")
        for name, count in self.missed().items():
            self._missed_by_removed[name] = self._missed_by_removed.get(name, 0) + max(
                0, before.get(name, 0) - count
            )

    def disarm(self, probes: ProbeEvent) -> None:
        """Take the traps away again; the probes stay defined and cost nothing."""
        while probes.descriptors:
            os.close(probes.descriptors.popitem()[1])

    def detach(self) -> None:
        """Disarm all probes; they stay defined and cost nothing."""
        for probes in self._events:
            self.disarm(probes)

    def close(self) -> None:
        """Disarm and remove all probes of this process."""
        if self._fd < 0:
            return
        self.detach()
        try:
            events = [f"{self.group}/{event}" for one in self._events for event in one.events]
            remove_events(self._fd, events)
        finally:
            os.close(self._fd)
            self._fd = -1
            self._events.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_event(number: int) -> int:
    """Return a perf event of the trace event with this id; opening it arms the event's probes.

    It stays disabled: that concerns perf's own samples only. Raises UserError.
    """
    attributes = bytearray(_PERF_ATTR_BYTES)
    # struct perf_event_attr: type, size, config, sample_period, sample_type, read_format, flags
    struct.pack_into(
        "<IIQQQQQ", attributes, 0, _PERF_TYPE_TRACEPOINT, _PERF_ATTR_BYTES, number, 1, 0, 0, _ATTR_DISABLED
    )
    buffer = (ctypes.c_char * _PERF_ATTR_BYTES).from_buffer(attributes)
    libc = ctypes.CDLL(None, use_errno=True)
    cpu = min(os.sched_getaffinity(0))
    descriptor = int(libc.syscall(_SYS_PERF_EVENT_OPEN, buffer, -1, cpu, -1, _PERF_FLAG_FD_CLOEXEC))
    if descriptor < 0:
        code = ctypes.get_errno()
        remedy = "run it as root: sudo ktcpdump-tui …" if code in (errno.EPERM, errno.EACCES) else None
        raise UserError(f"the kernel refuses to arm the probes: {os.strerror(code)}", remedy)
    return descriptor


def remove_stale(tracefs: Path) -> int:
    """Remove the probes of processes of ours that are gone; return how many events there were."""
    restore()
    try:
        text = (tracefs / "kprobe_events").read_text()
    except OSError:
        return 0
    left = sorted(owners.abandoned(text))
    if left:
        descriptor = os.open(tracefs / "kprobe_events", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            remove_events(descriptor, left)
        finally:
            os.close(descriptor)
    return len(left)


def remove_events(descriptor: int, events: Sequence[str]) -> None:
    """Remove ``GROUP/EVENT`` names with all their addresses; those that are gone, or in use, are passed over.

    The kernel waits for a grace period after each address, so those are made short meanwhile.
    """
    if not events:
        return
    with expedited():
        for event in events:
            with contextlib.suppress(OSError):
                os.write(descriptor, f"-:{event}\n".encode())


def _not_writable(path: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(
            f"this kernel has no kprobe events: {path} is missing (CONFIG_KPROBE_EVENTS is not set)",
            "capture in a virtual machine with a stock kernel: ktcpdump-tui --lab",
        )
    if os.geteuid() != 0:
        return UserError("probing the kernel needs root", "run it as root: sudo ktcpdump-tui …")
    return UserError(
        f"{path} cannot be written even by root: {error.strerror} (lockdown, or a container)",
        "see ktcpdump-tui --check, or capture in a virtual machine: ktcpdump-tui --lab",
    )
