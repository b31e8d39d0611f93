"""Events without a screen: the table, JSON, packet files."""
