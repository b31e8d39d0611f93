"""What the running kernel is: symbols, types, memory, modules, what it allows. Knows nothing of packets."""
