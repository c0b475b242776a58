"""Queues as people steer them, and idempotent triggers."""

from cronsvc.store.migrations.statements import run_file

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add to the schema of 0005; what the previous release reads stays as it is."""
    run_file("0006_queues.sql")
