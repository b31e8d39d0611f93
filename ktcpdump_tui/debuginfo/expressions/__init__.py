"""Watch expressions in C syntax, evaluated on the state of an event."""
