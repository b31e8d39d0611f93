"""What a capture is asked to do, apart from where its trace goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: CLI.md: what is probed where no SPEC is given.
DEFAULT_SPECS: Final = ("ip_rcv", "dev_hard_start_xmit")

#: Bytes of stack kept per event, from rsp upwards: most frames of the network stack fit.
STACK_BYTES: Final = 256

#: Most that --stack may ask for; a frame of the kernel may have 2048 (CONFIG_FRAME_WARN).
MAX_STACK_BYTES: Final = 4096

#: The ring buffer holds a state note of one page at most; more packet bytes than this do not fit in it.
MAX_SNAPLEN: Final = 2048


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """One capture, as the command line describes it.

    ``specs`` are SPECs as typed; ``debug_image`` the path given with -d (None: find it); ``snaplen`` and
    ``stack_bytes`` are bytes per event; ``duration`` seconds; ``mark`` is (value, mask); ``captures`` are
    pointer paths whose memory is kept with each event; ``guard`` is the share of one CPU (0-1) that
    tracing may take for a second before it is stopped, 0 switches the guard off; ``ring_bytes`` is a power
    of two, None chooses one. Without ``variables`` the trace cannot tell any, nor fields by name: to read
    their types is a tenth of the time to the first event.
    """

    specs: tuple[str, ...] = DEFAULT_SPECS
    expression: str = ""
    tunnel_expression: str | None = None
    debug_image: Path | None = None
    snaplen: int = 256
    stack_bytes: int = STACK_BYTES
    events: int | None = None
    packets: int | None = None
    duration: float | None = None
    command: str | None = None
    ready_file: Path | None = None
    max_probes: int = 4096
    netns: int | None = None
    ifname: str | None = None
    mark: tuple[int, int] | None = None
    survey: bool = False
    captures: tuple[str, ...] = ()
    guard: float = 0.5
    ring_bytes: int | None = None
    command_line: tuple[str, ...] = ()
    verbose: bool = False
    variables: bool = True
