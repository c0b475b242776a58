"""The audit log as a chain of hashes."""

from cronsvc.store.migrations.statements import run_file

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add to the schema of 0012; what the previous release reads stays as it is."""
    run_file("0013_audit_chain.sql")
