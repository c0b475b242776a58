"""Job types against real targets on loopback."""
