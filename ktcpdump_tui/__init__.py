"""An eBPF line debugger for the Linux network stack: what the kernel did with a packet, line by line.

``from ktcpdump_tui import Trace`` opens recorded traces from Python (api.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ktcpdump_tui.api import Trace

__version__ = "0.1.0"
__all__ = ["Trace", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: the lab's guest imports this package, where each module costs time.
    if name == "Trace":
        from ktcpdump_tui.api import Trace

        return Trace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
