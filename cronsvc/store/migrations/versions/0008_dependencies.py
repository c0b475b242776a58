"""Jobs that run after other jobs, and children that an execution starts."""

from cronsvc.store.migrations.statements import run_file

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add to the schema of 0007; what the previous release reads stays as it is."""
    run_file("0008_dependencies.sql")
