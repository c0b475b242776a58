"""The fence of a restored database."""

from cronsvc.store.migrations.statements import run_file

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add to the schema of 0014; what the previous release reads stays as it is."""
    run_file("0015_restore.sql")
