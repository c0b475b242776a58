"""The audit of quarantines."""

from cronsvc.store.migrations.statements import run_file

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add to the schema of 0011; what the previous release reads stays as it is."""
    run_file("0012_quarantine.sql")
