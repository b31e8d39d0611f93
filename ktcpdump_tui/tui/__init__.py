"""The full-screen interface. It reads only a trace, source text and variables; it knows nothing of BPF."""
