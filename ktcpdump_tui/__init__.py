"""An eBPF line debugger for the Linux network stack: what the kernel did with a packet, line by line."""

__version__ = "0.1.0"
