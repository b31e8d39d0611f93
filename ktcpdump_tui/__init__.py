"""What did the kernel do with my packet, line by line, and why?"""

__version__ = "0.1.0"
