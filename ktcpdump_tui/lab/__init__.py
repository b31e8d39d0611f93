"""The throw-away VM with a stock Debian kernel: ``--lab``, and the kernel tests' test bed."""

from ktcpdump_tui.lab.capture import LabCapture
from ktcpdump_tui.lab.lab import Lab, LabError
from ktcpdump_tui.lab.process import GuestProcess
from ktcpdump_tui.lab.progress import Progress

__all__ = ["GuestProcess", "Lab", "LabCapture", "LabError", "Progress"]
