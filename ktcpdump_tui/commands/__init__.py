"""What the command line can ask for: one module each, and the sessions they share."""
