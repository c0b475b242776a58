"""Egress lists by namespace, budgets and breakers by host, and every held fire."""

from cronsvc.store.migrations.statements import run_file

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add to the schema of 0015; what the previous release reads stays as it is."""
    run_file("0016_outbound.sql")
