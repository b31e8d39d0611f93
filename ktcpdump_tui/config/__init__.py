"""What outlives a run: settings, profiles (breakpoints, watches, layout), where one left a trace."""

from ktcpdump_tui.config.profiles import Place, Profile, Profiles, SavedBreakpoint
from ktcpdump_tui.config.settings import Settings, load_settings

__all__ = ["Place", "Profile", "Profiles", "SavedBreakpoint", "Settings", "load_settings"]
