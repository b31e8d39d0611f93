"""Watch expressions in C syntax, evaluated on the state of an event."""

from ktcpdump_tui.debuginfo.expressions.watch import Expression, Watched, compile_expression

__all__ = ["Expression", "Watched", "compile_expression"]
