"""Variables at an event: scopes, locations, types and values, in a table that a trace can carry.

``build_table`` reads DWARF and makes a ``VariableTable``; ``variables`` gives what is in scope at an event.
"""

from ktcpdump_tui.debuginfo.variables.build import build_table
from ktcpdump_tui.debuginfo.variables.scope import Variable, variables
from ktcpdump_tui.debuginfo.variables.table import VariableTable

__all__ = ["Variable", "VariableTable", "build_table", "variables"]
