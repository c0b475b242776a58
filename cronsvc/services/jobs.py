"""Jobs as people see them: define, find, change, pause, run now.

Promises: one request is one transaction, audited with its caller; on any error nothing is written. A caller with
namespaces neither sees nor touches jobs of others: their ids are NotFound. Every edit begins in `_editing`, which
records what the old definition still owed before it changes. Tickets leave after the commit. Roles are the door's
business.
"""

from collections.abc import AsyncIterator, Callable, Mapping, MutableSequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

from cronsvc.domain.execution import Execution, Reason, Ticket
from cronsvc.domain.job import Job, JobDefinition
from cronsvc.domain.schedule import ScheduleError
from cronsvc.domain.templates import TemplateUse
from cronsvc.errors import Conflict, NotFound, PreconditionFailed
from cronsvc.executors.base import Executor
from cronsvc.services import job_edits, slow_checks
from cronsvc.services.access import Caller
from cronsvc.services.closed_days import with_closed_days
from cronsvc.services.dispatch import Dispatcher
from cronsvc.services.job_limits import JobLimits
from cronsvc.services.job_order import JobSort
from cronsvc.services.job_sight import allow, known, unknown, visible
from cronsvc.services.job_validation import check_filter, check_note, check_params, checked
from cronsvc.services.paging import IdSort, Page, check_limit, page_of
from cronsvc.services.pausing import check_until, pause_columns
from cronsvc.services.preview import check_count, instants
from cronsvc.services.scheduling import settle
from cronsvc.services.secret_validation import definition_faults, params_faults
from cronsvc.services.triggering import OnceKey, Triggered, ticket_of
from cronsvc.services.type_roles import check_type_role
from cronsvc.services.weeks import KnownWeeks
from cronsvc.store import audit, calendars, clock, executions, job_pages, jobs, partitions, templates
from cronsvc.store.jobs import JobState, Revision
from cronsvc.store.pool import Conn, Database

# What sees an edit that is about to be written: the job before and after, how many runs were due, and the clock.
Rehearsal = Callable[[JobState, Job, int, datetime], NoReturn]

INSTANT = timedelta(microseconds=1)


class Jobs:
    """The jobs of one database, for one process."""

    def __init__(
        self,
        db: Database,
        executors: Mapping[str, Executor],
        dispatcher: Dispatcher,
        default_queue: str = "default",
        limits: JobLimits | None = None,
    ) -> None:
        self._db = db
        self._executors = executors
        self._dispatcher = dispatcher
        self.default_queue = default_queue
        self._weeks = KnownWeeks()
        self._limits = limits or JobLimits()

    async def create(self, definition: JobDefinition, caller: Caller, *, use: TemplateUse | None = None) -> Job:
        """Store a new job, its first fire time worked out. InvalidInput lists every bad field; Conflict: name taken.

        An empty queue name means the default queue. `use`: the template that the definition was made from.
        """
        allow(definition.namespace, caller)
        check_type_role(caller, self._executors, definition)
        definition = self._with_queue(definition)
        slow = await slow_checks.of_definition(definition, self._executors)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            now = await clock.now(conn)
            if definition.schedule.calendar is not None:
                await calendars.hold(conn, namespace=definition.namespace)
            definition = await with_closed_days(conn, definition)
            more = [*await definition_faults(conn, definition, self._executors), *slow]
            definition = checked(definition, self._executors, now=now, more=more)
            job = await job_edits.create(conn, definition, now=now, limits=self._limits)
            return job if use is None else await templates.note_use(conn, job, use)

    async def get(self, job_id: int, caller: Caller) -> Job:
        """One job."""
        async with self._db.statements() as conn:
            return visible(await jobs.find(conn, known(job_id)), job_id, caller)

    async def list(
        self,
        caller: Caller,
        *,
        name: str | None = None,
        tag: str | None = None,
        group: str | None = None,
        template_id: int | None = None,
        queue: str | None = None,
        is_active: bool | None = None,
        namespace: str | None = None,
        sort: JobSort = JobSort.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        """Jobs in the order of `sort`; `name` is the whole name. A namespace the caller may not see has none."""
        for field, value in {"name": name, "tag": tag, "group": group, "queue": queue, "namespace": namespace}.items():
            check_filter(field, value)
        after = sort.place(cursor)
        wanted = caller.namespaces
        if namespace is not None:
            wanted = (namespace,) if caller.sees(namespace) else ()
        async with self._db.statements() as conn:
            found = await job_pages.page(
                conn,
                namespaces=wanted,
                name=name,
                tag=tag,
                group=group,
                template_id=template_id,
                queue=queue,
                is_active=is_active,
                order=sort.column,
                descending=sort.descending,
                after=after,
                limit=check_limit(limit) + 1,
            )
        return page_of(found, limit, sort.cursor)

    async def replace(
        self, job_id: int, definition: JobDefinition, caller: Caller, *, if_revision: int | None = None
    ) -> Job:
        """Give a job another definition; the same one makes no revision. Its cursor moves only if its schedule does.

        PreconditionFailed: `if_revision` is not the present one. InvalidInput and Conflict as for `create`.
        """
        return await self.edit(job_id, lambda _: definition, caller, if_revision=if_revision)

    async def edit(
        self,
        job_id: int,
        change: Callable[[JobDefinition], JobDefinition],
        caller: Caller,
        *,
        if_revision: int | None = None,
        rehearsal: Rehearsal | None = None,
        use: TemplateUse | None = None,
    ) -> Job:
        """`replace` with what `change` makes of the present definition, read under the lock: no edit gets lost.

        A `rehearsal` sees what would be written, and raises, so that nothing is. `use`: as for `create`.
        """
        owed: list[Ticket] = []
        slow = await slow_checks.of_edit(self._db, job_id, change, caller, self._executors, if_revision=if_revision)
        async with self._editing(job_id, caller, if_revision, redefines=True, owed=owed) as (conn, locked):
            definition = self._with_queue(change(locked.job.definition))
            allow(definition.namespace, caller)
            check_type_role(caller, self._executors, locked.job.definition, definition)
            definition = await with_closed_days(conn, definition)
            changed = await job_edits.redefine(conn, locked, definition, self._executors, slow, self._limits)
            if rehearsal is not None:
                rehearsal(locked, changed, len(owed), await clock.now(conn))
            return changed if use is None else await templates.note_use(conn, changed, use)

    async def delete(self, job_id: int, caller: Caller, *, if_revision: int | None = None) -> None:
        """Delete a job: nothing of it fires again, what waits is cancelled, its history stays. Then it is NotFound."""
        async with self._editing(job_id, caller, if_revision) as (conn, locked):
            await job_edits.account_for_pause(conn, locked, now=await clock.now(conn))
            await jobs.delete(conn, job_id)
            await executions.cancel_waiting(conn, job_id, reason=Reason.USER)

    async def pause(
        self, job_id: int, caller: Caller, *, note: str | None = None, until: datetime | None = None
    ) -> Job:
        """Hold a job back, for good or `until` an instant ahead. A paused job gets the new note and end."""
        check_note(note)
        async with self._editing(job_id, caller) as (conn, locked):
            check_until(until, await clock.now(conn))
            paused = await jobs.pause(conn, job_id, by=caller.actor, note=note, until=until)
            assert paused is not None  # the row is locked
            if locked.job.pause is not None:  # the table's trigger writes down the beginning of a pause only
                await audit.append(
                    conn,
                    action="pause",
                    entity="job",
                    entity_id=str(job_id),
                    namespace=paused.definition.namespace,
                    before=pause_columns(locked.job),
                    after=pause_columns(paused),
                )
            return paused

    async def resume(self, job_id: int, caller: Caller, *, catch_up: bool = False) -> Job:
        """End a pause: what it held back becomes one SKIPPED row, the next fire lies ahead. Not paused: no change.

        With `catch_up` the cursor stays where it is, and the next tick plans what was held back by the misfire policy.
        """
        async with self._editing(job_id, caller) as (conn, locked):
            if locked.job.pause is None:
                return locked.job
            return await job_edits.resume(conn, locked, now=await clock.now(conn), catch_up=catch_up)

    async def trigger(self, job_id: int, caller: Caller, *, params: Mapping[str, Any] | None = None) -> Execution:
        """Run a job now, paused or not, with `params` laid over its config; its schedule goes on undisturbed.

        InvalidInput names the bad field of `params`.
        """
        return (await self._trigger(job_id, caller, params, None)).execution

    async def trigger_once(
        self, job_id: int, caller: Caller, *, key: str, params: Mapping[str, Any] | None = None
    ) -> Triggered:
        """`trigger`, at most once for this job and key within 24 hours: a repetition answers with what the first began.

        InvalidInput: the key cannot be one, or came with other params before. Conflict: that execution is gone already.
        """
        return await self._trigger(job_id, caller, params, OnceKey.of(key, params))

    async def _trigger(
        self, job_id: int, caller: Caller, params: Mapping[str, Any] | None, once: OnceKey | None
    ) -> Triggered:
        await self._make_room()
        slow = await slow_checks.of_params(self._db, job_id, params, caller, self._executors)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            job = visible(await jobs.hold(conn, known(job_id)), job_id, caller)
            if once is not None and (begun := await once.begun(conn, job_id)) is not None:
                return Triggered(begun, replayed=True)
            if params:
                check_type_role(caller, self._executors, job.definition, act="give params to")
            more = [*await params_faults(conn, job, params, self._executors), *slow]
            accepted = check_params(job, params, self._executors, more)
            execution = None
            while execution is None:  # the microsecond was taken by another trigger of this job: take a later one
                execution = await executions.insert_manual(
                    conn,
                    job,
                    params=accepted or None,
                    requested_by=caller.actor,
                    redispatch=self._dispatcher.redispatch_after,
                )
            if once is not None:
                await once.remember(conn, execution)
        await self._dispatcher.push([ticket_of(execution)])
        return Triggered(execution, replayed=False)

    async def trigger_by_name(
        self, name: str, caller: Caller, *, params: Mapping[str, Any] | None = None, namespace: str | None = None
    ) -> Execution:
        """`trigger` for the job of this name; Conflict when several namespaces have one and none is said."""
        return await self.trigger(await self.id_of(name, caller, namespace=namespace), caller, params=params)

    async def id_of(self, name: str, caller: Caller, *, namespace: str | None = None) -> int:
        """The id of the job of this name; Conflict when several namespaces have one and none is said."""
        check_filter("name", name)
        check_filter("namespace", namespace)
        wanted = caller.namespaces
        if namespace is not None:
            wanted = (namespace,) if caller.sees(namespace) else ()
        async with self._db.statements() as conn:
            found = await jobs.named(conn, name, namespaces=wanted)
        if not found:
            raise NotFound(f"there is no job named {name!r}" + (f" in namespace {namespace!r}" if namespace else ""))
        if len(found) > 1:
            raise Conflict(f"several namespaces have a job named {name!r}: say which of {', '.join(found)}")
        (job_id,) = found.values()
        return job_id

    async def upcoming(self, job_id: int, caller: Caller, *, count: int = 10) -> tuple[datetime, ...]:
        """The next instants that will fire, at most `count`: none while the job is held back without an end."""
        check_count(count)
        async with self._db.statements() as conn:
            state = await jobs.state(conn, known(job_id))
        job = visible(None if state is None else state.job, job_id, caller)
        assert state is not None
        definition = job.definition
        if not definition.is_active or job.quarantine_reason is not None:
            return ()
        if definition.max_runs is not None:
            count = min(count, definition.max_runs - job.fire_count)
        try:
            if job.pause is not None:
                return tuple(instants(definition.schedule, job.pause.until, count)) if job.pause.until else ()
            first = job_edits.first_ahead(state)
            return () if first is None else tuple(instants(definition.schedule, first - INSTANT, count))
        except ScheduleError:
            return ()  # written by SQL, and not yet seen by the tick that will quarantine it

    async def revisions(
        self,
        job_id: int,
        caller: Caller,
        cursor: str | None = None,
        limit: int = 50,
        sort: IdSort = IdSort.NEWEST,
    ) -> Page[Revision]:
        """The definitions a job has had, by revision; a deleted job's too."""
        kind = f"revisions/{job_id}"
        edge = sort.edge(kind, cursor)
        async with self._db.statements() as conn:
            namespace = await jobs.namespace_of(conn, known(job_id))
            if namespace is None or not caller.sees(namespace):
                raise unknown(job_id)
            found = await jobs.revisions(conn, job_id, edge=edge, limit=check_limit(limit) + 1)
        return page_of(found, limit, lambda each: sort.cursor(kind, each.revision))

    @asynccontextmanager
    async def _editing(
        self,
        job_id: int,
        caller: Caller,
        if_revision: int | None = None,
        *,
        redefines: bool = False,
        owed: MutableSequence[Ticket] | None = None,
    ) -> AsyncIterator[tuple[Conn, JobState]]:
        """The transaction of an edit: the row is locked, and what is already due is recorded as it was defined."""
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            if redefines:
                await calendars.hold(conn, job_id=known(job_id))
            # Before anything is settled: who holds the job to reach its executions must not wait for us in a circle.
            await jobs.lock(conn, known(job_id))
            tickets = await settle(conn, job_id, self._dispatcher)
            if owed is not None:
                owed.extend(tickets)
            locked = await jobs.lock(conn, job_id)
            job = visible(None if locked is None else locked.job, job_id, caller)
            assert locked is not None
            if if_revision is not None and if_revision != job.revision:
                raise PreconditionFailed(
                    f"job {job_id} is at revision {job.revision}, not {if_revision}: read it again"
                )
            yield conn, locked
        await self._dispatcher.push(tickets)

    async def _make_room(self) -> None:
        """Make the partitions of this week, and of the next when it is near: a trigger may come before upkeep does."""
        async with self._db.statements() as conn:
            now = await clock.now(conn)
        weeks = {partitions.week_of(now), partitions.week_of(now + timedelta(hours=1))}
        if not self._weeks.have(weeks, now=now):
            async with self._db.transaction() as conn:
                await self._weeks.ensure(conn, weeks, now=now)

    def _with_queue(self, definition: JobDefinition) -> JobDefinition:
        return definition if definition.queue else replace(definition, queue=self.default_queue)
