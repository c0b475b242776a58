"""Ending and beginning again: cancel, retry, dead letters."""

from cronsvc.store.migrations.statements import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add to the schema of 0001; what the previous release reads stays as it is."""
    run_file("0002_ending.sql")
