"""The operations in groups, as both clients have them.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from cronsvc.client.generated import (
    audit,
    backfills,
    calendars,
    callbacks,
    dead_letters,
    executions,
    jobs,
    keys,
    maintenance,
    monitoring,
    outbound,
    probes,
    queues,
    schedules,
    secrets,
    service,
    templates,
)
from cronsvc.client.parts import AsyncPart, Listing, Operation, Sends, SendsLater, SyncPart


class _Audit:
    """Operations on audit."""

    list = Listing(audit.list_audit)
    list_fields = Listing(audit.list_audit_fields)
    export = Operation(audit.export_audit)
    verify = Operation(audit.verify_audit)


class Audit(_Audit, SyncPart):
    """For the sync client."""


class AsyncAudit(_Audit, AsyncPart):
    """For the async client."""


class _Backfills:
    """Operations on backfills."""

    start = Operation(backfills.backfill_job)
    start_dry_run = Operation(backfills.backfill_job_dry_run)
    list = Listing(backfills.list_backfills)
    get = Operation(backfills.get_backfill)
    cancel = Operation(backfills.cancel_backfill)
    pause = Operation(backfills.pause_backfill)
    resume = Operation(backfills.resume_backfill)
    recover = Operation(backfills.recover)
    recover_dry_run = Operation(backfills.recover_dry_run)
    recoveries = Listing(backfills.list_recoveries)
    recovery = Operation(backfills.get_recovery)
    cancel_recovery = Operation(backfills.cancel_recovery)


class Backfills(_Backfills, SyncPart):
    """For the sync client."""


class AsyncBackfills(_Backfills, AsyncPart):
    """For the async client."""


class _Calendars:
    """Operations on calendars."""

    create = Operation(calendars.create_calendar)
    list = Listing(calendars.list_calendars)
    get = Operation(calendars.get_calendar)
    replace = Operation(calendars.replace_calendar)
    delete = Operation(calendars.delete_calendar)
    import_ = Operation(calendars.import_calendar)


class Calendars(_Calendars, SyncPart):
    """For the sync client."""


class AsyncCalendars(_Calendars, AsyncPart):
    """For the async client."""


class _Callbacks:
    """Operations on callbacks."""

    report_progress_of_execution = Operation(callbacks.report_progress_of_execution)
    report_progress = Operation(callbacks.report_progress)
    complete_execution = Operation(callbacks.complete_execution)
    complete_execution_by_id = Operation(callbacks.complete_execution_by_id)


class Callbacks(_Callbacks, SyncPart):
    """For the sync client."""


class AsyncCallbacks(_Callbacks, AsyncPart):
    """For the async client."""


class _DeadLetters:
    """Operations on dead letters."""

    list = Listing(dead_letters.list_dead_letters)
    list_fields = Listing(dead_letters.list_dead_letters_fields)
    redrive_many = Operation(dead_letters.redrive_dead_letters)
    resolve_many = Operation(dead_letters.resolve_dead_letters)
    redrive = Operation(dead_letters.redrive_dead_letter)
    resolve = Operation(dead_letters.resolve_dead_letter)


class DeadLetters(_DeadLetters, SyncPart):
    """For the sync client."""


class AsyncDeadLetters(_DeadLetters, AsyncPart):
    """For the async client."""


class _Executions:
    """Operations on executions."""

    of_job = Listing(executions.list_job_executions)
    of_job_fields = Listing(executions.list_job_executions_fields)
    list = Listing(executions.list_executions)
    list_fields = Listing(executions.list_executions_fields)
    get = Operation(executions.get_execution)
    progress = Operation(executions.get_progress)
    cancel = Operation(executions.cancel_execution)
    retry = Operation(executions.retry_execution)
    children = Listing(executions.list_children)


class Executions(_Executions, SyncPart):
    """For the sync client."""


class AsyncExecutions(_Executions, AsyncPart):
    """For the async client."""


class _Jobs:
    """Operations on jobs."""

    change_many = Operation(jobs.change_jobs)
    pause_many = Operation(jobs.pause_jobs)
    resume_many = Operation(jobs.resume_jobs)
    create = Operation(jobs.create_job)
    list = Listing(jobs.list_jobs)
    list_fields = Listing(jobs.list_jobs_fields)
    trigger_by_name = Operation(jobs.trigger_job_by_name)
    trigger_named = Operation(jobs.trigger_named_job)
    cleanup = Operation(jobs.cleanup_jobs)
    get = Operation(jobs.get_job)
    replace = Operation(jobs.replace_job)
    replace_dry_run = Operation(jobs.replace_job_dry_run)
    patch = Operation(jobs.patch_job)
    patch_dry_run = Operation(jobs.patch_job_dry_run)
    delete = Operation(jobs.delete_job)
    trigger = Operation(jobs.trigger_job)
    pause = Operation(jobs.pause_job)
    resume = Operation(jobs.resume_job)
    upcoming = Operation(jobs.list_upcoming)
    statistics = Operation(jobs.get_job_statistics)
    revisions = Listing(jobs.list_revisions)
    explain = Operation(jobs.explain_job)
    dependencies = Operation(jobs.get_job_dependencies)
    groups = Listing(jobs.list_groups)


class Jobs(_Jobs, SyncPart):
    """For the sync client."""


class AsyncJobs(_Jobs, AsyncPart):
    """For the async client."""


class _Keys:
    """Operations on keys."""

    list = Listing(keys.list_keys)
    create = Operation(keys.create_key)
    revoke = Operation(keys.revoke_key)
    sessions = Listing(keys.list_sessions)
    end_sessions = Operation(keys.end_sessions)


class Keys(_Keys, SyncPart):
    """For the sync client."""


class AsyncKeys(_Keys, AsyncPart):
    """For the async client."""


class _Maintenance:
    """Operations on maintenance."""

    create = Operation(maintenance.create_maintenance_window)
    list = Listing(maintenance.list_maintenance_windows)
    get = Operation(maintenance.get_maintenance_window)
    replace = Operation(maintenance.replace_maintenance_window)
    cancel = Operation(maintenance.cancel_maintenance_window)


class Maintenance(_Maintenance, SyncPart):
    """For the sync client."""


class AsyncMaintenance(_Maintenance, AsyncPart):
    """For the async client."""


class _Monitoring:
    """Operations on monitoring."""

    status = Operation(monitoring.get_jobs_status)
    metrics = Operation(monitoring.get_jobs_metrics)
    history = Operation(monitoring.get_jobs_history)


class Monitoring(_Monitoring, SyncPart):
    """For the sync client."""


class AsyncMonitoring(_Monitoring, AsyncPart):
    """For the async client."""


class _Outbound:
    """Operations on outbound."""

    list_egress = Listing(outbound.list_egress)
    get_egress = Operation(outbound.get_egress)
    put_egress = Operation(outbound.put_egress)
    delete_egress = Operation(outbound.delete_egress)
    hosts = Listing(outbound.list_hosts)
    host = Operation(outbound.get_host)
    put_host = Operation(outbound.put_host)
    delete_host = Operation(outbound.delete_host)
    trip_host = Operation(outbound.trip_host)
    reset_host = Operation(outbound.reset_host)
    holds = Listing(outbound.list_holds)


class Outbound(_Outbound, SyncPart):
    """For the sync client."""


class AsyncOutbound(_Outbound, AsyncPart):
    """For the async client."""


class _Probes:
    """Operations on probes."""

    health = Operation(probes.get_health)
    ready = Operation(probes.get_ready)
    openapi = Operation(probes.get_openapi)
    metrics = Operation(probes.get_metrics)


class Probes(_Probes, SyncPart):
    """For the sync client."""


class AsyncProbes(_Probes, AsyncPart):
    """For the async client."""


class _Queues:
    """Operations on queues."""

    list = Listing(queues.list_queues)
    get = Operation(queues.get_queue)
    put = Operation(queues.put_queue)
    patch = Operation(queues.patch_queue)
    pause = Operation(queues.pause_queue)
    resume = Operation(queues.resume_queue)


class Queues(_Queues, SyncPart):
    """For the sync client."""


class AsyncQueues(_Queues, AsyncPart):
    """For the async client."""


class _Schedules:
    """Operations on schedules."""

    preview = Operation(schedules.preview_schedule)


class Schedules(_Schedules, SyncPart):
    """For the sync client."""


class AsyncSchedules(_Schedules, AsyncPart):
    """For the async client."""


class _Secrets:
    """Operations on secrets."""

    list = Listing(secrets.list_secrets)
    put = Operation(secrets.put_secret)
    delete = Operation(secrets.delete_secret)


class Secrets(_Secrets, SyncPart):
    """For the sync client."""


class AsyncSecrets(_Secrets, AsyncPart):
    """For the async client."""


class _Service:
    """Operations on service."""

    cleanup = Operation(service.cleanup)
    status = Operation(service.get_status)
    me = Operation(service.get_me)
    restore = Operation(service.get_restore)
    confirm_restore = Operation(service.confirm_restore)


class Service(_Service, SyncPart):
    """For the sync client."""


class AsyncService(_Service, AsyncPart):
    """For the async client."""


class _Templates:
    """Operations on templates."""

    create = Operation(templates.create_template)
    list = Listing(templates.list_templates)
    get = Operation(templates.get_template)
    replace = Operation(templates.replace_template)
    delete = Operation(templates.delete_template)
    revisions = Listing(templates.list_template_revisions)
    create_job_from = Operation(templates.create_job_from_template)
    apply = Operation(templates.apply_template)


class Templates(_Templates, SyncPart):
    """For the sync client."""


class AsyncTemplates(_Templates, AsyncPart):
    """For the async client."""


class SyncGroups:
    """What the sync client can do."""

    def __init__(self, client: Sends) -> None:
        self.audit = Audit(client)
        self.backfills = Backfills(client)
        self.calendars = Calendars(client)
        self.callbacks = Callbacks(client)
        self.dead_letters = DeadLetters(client)
        self.executions = Executions(client)
        self.jobs = Jobs(client)
        self.keys = Keys(client)
        self.maintenance = Maintenance(client)
        self.monitoring = Monitoring(client)
        self.outbound = Outbound(client)
        self.probes = Probes(client)
        self.queues = Queues(client)
        self.schedules = Schedules(client)
        self.secrets = Secrets(client)
        self.service = Service(client)
        self.templates = Templates(client)


class AsyncGroups:
    """What the async client can do."""

    def __init__(self, client: SendsLater) -> None:
        self.audit = AsyncAudit(client)
        self.backfills = AsyncBackfills(client)
        self.calendars = AsyncCalendars(client)
        self.callbacks = AsyncCallbacks(client)
        self.dead_letters = AsyncDeadLetters(client)
        self.executions = AsyncExecutions(client)
        self.jobs = AsyncJobs(client)
        self.keys = AsyncKeys(client)
        self.maintenance = AsyncMaintenance(client)
        self.monitoring = AsyncMonitoring(client)
        self.outbound = AsyncOutbound(client)
        self.probes = AsyncProbes(client)
        self.queues = AsyncQueues(client)
        self.schedules = AsyncSchedules(client)
        self.secrets = AsyncSecrets(client)
        self.service = AsyncService(client)
        self.templates = AsyncTemplates(client)
