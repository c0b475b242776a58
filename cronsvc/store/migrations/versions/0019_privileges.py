"""Who may call and write what; and, beside the service, what the chain of the audit log still needs of old entries."""

from cronsvc.store.migrations.beside import build_index, in_stretches
from cronsvc.store.migrations.statements import run_file

revision = "0019"
down_revision = "0018"

# What waits or is sealed by now is left out: a statement sees an entry in one of the two tables, never in neither.
QUEUE_OLD_ENTRIES = """
WITH stretch AS (
    SELECT id FROM public.audit_log WHERE id > %(after)s ORDER BY id LIMIT %(most)s
), queued AS (
    INSERT INTO public.audit_unsealed (audit_id)
    SELECT s.id FROM stretch AS s
     WHERE NOT EXISTS (SELECT FROM public.audit_chain AS c WHERE c.audit_id = s.id)
       AND NOT EXISTS (SELECT FROM public.audit_unsealed AS u WHERE u.audit_id = s.id)
        ON CONFLICT DO NOTHING
)
SELECT max(id) FROM stretch
"""


def upgrade() -> None:
    """Add to the schema of 0018; what the previous release reads stays as it is."""
    build_index("audit_log_at", "ON public.audit_log (at, id)")
    in_stretches(QUEUE_OLD_ENTRIES)
    run_file("0019_privileges.sql")
