"""What the running kernel is: symbols, types, memory, modules and what it allows. Knows nothing of packets."""
