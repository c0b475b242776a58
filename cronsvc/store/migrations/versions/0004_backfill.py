"""Backfill of a window and recovery after an outage."""

from cronsvc.store.migrations.statements import run_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add to the schema of 0003; what the previous release reads stays as it is."""
    run_file("0004_backfill.sql")
