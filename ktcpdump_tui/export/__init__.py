"""A trace's events as files other programs read: one module per format, chosen by the file's name.

``export`` writes (part of) a trace at once, as the screen's ``:export FILE`` and ``-r TRACE -w FILE`` do;
``open_export`` returns what takes the events of a trace while it grows, as ``-w`` beside a capture does. The
formats and their suffixes are in formats.py. Modules of a format are imported when it is asked for.
"""

from ktcpdump_tui.export.exporting import export
from ktcpdump_tui.export.formats import FORMATS, Format, Showing, check_export, format_of, open_export

__all__ = ["FORMATS", "Format", "Showing", "check_export", "export", "format_of", "open_export"]
