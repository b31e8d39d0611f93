"""Probing the running kernel: specs, filter, BPF program, attaching, the worker thread."""
