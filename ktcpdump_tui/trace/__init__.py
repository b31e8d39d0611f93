"""The trace: plan, events and packets of one capture, in one file. Knows nothing of BPF."""
