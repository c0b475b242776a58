"""Retry options, pause on failure, retention and statistics."""

from cronsvc.store.migrations.statements import run_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add to the schema of 0002; what the previous release reads stays as it is."""
    run_file("0003_retries.sql")
