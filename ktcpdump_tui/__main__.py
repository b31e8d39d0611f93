"""``python -m ktcpdump_tui``."""

from ktcpdump_tui.cli import entry_point

if __name__ == "__main__":
    entry_point()
