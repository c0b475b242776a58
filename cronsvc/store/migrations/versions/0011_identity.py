"""Sessions, issuers of tokens, row-level security."""

from cronsvc.store.migrations.statements import run_file

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add to the schema of 0010; what the previous release reads stays as it is."""
    run_file("0011_identity.sql")
