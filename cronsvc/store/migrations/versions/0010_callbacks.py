"""Executions whose target ends them later, by a signed call."""

from cronsvc.store.migrations.statements import run_file

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add to the schema of 0009; what the previous release reads stays as it is."""
    run_file("0010_callbacks.sql")
