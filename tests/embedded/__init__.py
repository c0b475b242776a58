"""The embedded servers, run for real: starts, kills, outages, owners that vanish, awkward folders."""
