"""Look-ups in ELF and DWARF: lines, inline chains, frames, variables, sources; no kernel, no packets."""
