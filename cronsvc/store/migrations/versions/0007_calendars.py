"""Holiday calendars and maintenance windows."""

from cronsvc.store.migrations.statements import run_file

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add to the schema of 0006; what the previous release reads stays as it is."""
    run_file("0007_calendars.sql")
