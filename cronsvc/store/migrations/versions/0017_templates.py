"""Templates of jobs and groups."""

from cronsvc.store.migrations.statements import run_file

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add to the schema of 0016; what the previous release reads stays as it is."""
    run_file("0017_templates.sql")
