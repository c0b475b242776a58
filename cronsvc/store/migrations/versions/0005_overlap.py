"""Overlap, concurrency and queue limits."""

from cronsvc.store.migrations.statements import run_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add to the schema of 0004; what the previous release reads stays as it is."""
    run_file("0005_overlap.sql")
