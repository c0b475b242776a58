"""The caller that services see behind a shell."""

from cronsvc.cli.environment import actor
from cronsvc.services.access import Caller, Role


def operator() -> Caller:
    """Whoever holds DATABASE_URL may do anything; the audit log names the account."""
    return Caller(actor=actor(), role=Role.ADMIN, namespaces=None, source="cli")
