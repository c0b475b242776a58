"""Encrypted secrets."""

from cronsvc.store.migrations.statements import run_file

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add to the schema of 0008; what the previous release reads stays as it is."""
    run_file("0009_secrets.sql")
