"""Pure ideas: no clock, no I/O, no randomness. Read these files first."""
