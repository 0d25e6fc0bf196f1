"""Values that travel and the tables that say where to: no I/O, no encoding."""
