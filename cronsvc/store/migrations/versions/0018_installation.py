"""Which installation a database belongs to."""

from cronsvc.store.migrations.statements import run_file

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add to the schema of 0017; what the previous release reads stays as it is."""
    run_file("0018_installation.sql")
