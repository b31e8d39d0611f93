"""Watch expressions in C syntax, evaluated on the state of an event; paths to what is to be captured."""

from ktcpdump_tui.debuginfo.expressions.capture_path import CapturePath, capture_path
from ktcpdump_tui.debuginfo.expressions.watch import Expression, Watched, compile_expression

__all__ = ["CapturePath", "Expression", "Watched", "capture_path", "compile_expression"]
