"""The full-screen interface. It reads only a trace, source text and variables; it knows nothing of BPF."""

import os

# Frames per second at most. With 60, as usual, a key that comes right after a frame waits 16 ms for its own.
os.environ.setdefault("TEXTUAL_FPS", "120")
