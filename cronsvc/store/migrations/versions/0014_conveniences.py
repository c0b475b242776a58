"""Requests that may be sent again: a key and the answer it got."""

from cronsvc.store.migrations.statements import run_file

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add to the schema of 0013; what the previous release reads stays as it is."""
    run_file("0014_conveniences.sql")
