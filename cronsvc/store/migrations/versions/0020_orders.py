"""Indexes for lists sorted by name and by change and for groups and templates, and whose a request's key is."""

from cronsvc.store.migrations.beside import build_index, validate
from cronsvc.store.migrations.statements import run_file

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add to the schema of 0019; what the previous release reads stays as it is."""
    build_index(
        "jobs_groups", "ON public.jobs (job_group, namespace) WHERE job_group IS NOT NULL AND deleted_at IS NULL"
    )
    build_index("jobs_templates", "ON public.jobs (template_id, id) WHERE template_id IS NOT NULL")
    build_index("jobs_by_name", "ON public.jobs (name, id) WHERE deleted_at IS NULL")
    build_index("jobs_by_change", "ON public.jobs (updated_at, id) WHERE deleted_at IS NULL")
    validate("jobs", "jobs_group_name")
    validate("jobs", "jobs_template_whole")
    run_file("0020_orders.sql")
