"""Indexes for lists sorted by name and by change, and whose a request's key is."""

from cronsvc.store.migrations.statements import run_file

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add to the schema of 0019; what the previous release reads stays as it is."""
    run_file("0020_orders.sql")
