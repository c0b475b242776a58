"""Foundation: definitions with revisions, partitioned executions and attempts, presence, queues, keys, audit."""

from cronsvc.store.migrations.statements import run_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Build the first schema."""
    run_file("0001_foundation.sql")
