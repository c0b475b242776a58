"""Opt-in measurements: `python -m tests.bench`. They print medians and ratios and never fail on a number."""
