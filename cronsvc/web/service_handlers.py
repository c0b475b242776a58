"""The service itself: probes, status, keys, and who is asking."""

from datetime import UTC, datetime

from starlette.responses import Response

from cronsvc.domain.execution import Status
from cronsvc.services.paging import IdSort
from cronsvc.services.status import Check, Readiness
from cronsvc.web.answers import answer
from cronsvc.web.ending_models import DeadLetterCount
from cronsvc.web.probe import Probe
from cronsvc.web.routing import Call
from cronsvc.web.service_models import (
    DatabaseHealth,
    HealthAnswer,
    JobCountsAnswer,
    JobsHealth,
    KeyAnswer,
    KeyCreated,
    KeyIn,
    KeyList,
    KeyQuery,
    LastDayAnswer,
    MeAnswer,
    PartAnswer,
    ReadyAnswer,
    SchedulerAnswer,
    StatusAnswer,
    WorkerAnswer,
)


async def health(call: Call) -> Response:
    """Liveness: 200 for as long as the process can answer, with what it knows of the database."""
    probe = _probe(call)
    found = await probe.readiness()
    return answer(
        HealthAnswer(
            status="OK",
            timestamp=datetime.now(UTC),
            uptime=probe.uptime_seconds,
            database=DatabaseHealth(
                status="connected" if found.postgres.ok else "disconnected", response_time=_ms(found.postgres.ms)
            ),
            jobs=JobsHealth(initialized=found.postgres.ok and found.schema_ok),
        )
    )


async def ready(call: Call) -> Response:
    """Readiness: 200 when requests can be served, else 503; either way every part is named."""
    found = await _probe(call).readiness()
    check = call.services.self_check
    is_ready = found.ok and not check.is_red
    model = ReadyAnswer(
        status=("ready" if found.fence is None else "fenced") if is_ready else "not ready",
        postgres=_part(found.postgres),
        redis=_part(found.redis),
        database_schema=PartAnswer(status="ok" if found.schema_ok else "failing", response_time=None),
        self_check=PartAnswer(status="failing" if check.is_red else "ok", response_time=None),
        problems=[*_problems(found), *check.problems],
    )
    return answer(model, status=200 if is_ready else 503)


async def openapi(call: Call) -> Response:
    """The document of this API."""
    content: bytes = call.request.app.state.openapi
    return Response(content, media_type="application/json", headers={"Cache-Control": "public, max-age=60"})


async def status(call: Call) -> Response:
    """Counts of what the caller may see, and the processes that are alive."""
    found = await call.services.status.overview(call.caller)
    jobs = found.jobs
    return answer(
        StatusAnswer(
            timestamp=found.now,
            jobs=JobCountsAnswer(
                active=jobs.active,
                paused=jobs.paused,
                inactive=jobs.inactive,
                quarantined=jobs.quarantined,
                complete=jobs.complete,
            ),
            waiting=found.waiting,
            running=found.running,
            oldest_waiting_seconds=found.oldest_waiting_seconds,
            dead_letters=DeadLetterCount(count=found.dead_letters, complete=found.dead_letters_complete),
            last_day=LastDayAnswer(
                counts={each: found.executions.get(each.value, 0) for each in Status},
                complete=found.executions_complete,
            ),
            next_fire_time=found.next_due,
            workers=[WorkerAnswer.model_validate(each, from_attributes=True) for each in found.workers],
            schedulers=[SchedulerAnswer.model_validate(each, from_attributes=True) for each in found.schedulers],
            database_ms=round(found.database_ms, 3),
        )
    )


async def me(call: Call) -> Response:
    """Who the key speaks for."""
    caller = call.caller
    namespaces = None if caller.namespaces is None else list(caller.namespaces)
    roles = None if caller.roles is None else dict(caller.roles)
    return answer(MeAnswer(actor=caller.actor, role=caller.role, namespaces=namespaces, roles=roles))


async def list_keys(call: Call) -> Response:
    """Keys that reach no further than the caller, without secrets."""
    query: KeyQuery = call.query
    page = await call.services.access.page_of_keys(
        call.caller, name=query.name, is_live=query.is_live, sort=query.sort, cursor=query.cursor, limit=query.limit
    )
    return answer(KeyList(items=[_key(key) for key in page.items], next_cursor=page.next_cursor))


async def create_key(call: Call) -> Response:
    """Make a key; this answer is the only place where it can be read."""
    body: KeyIn = call.body
    access = call.services.access
    plain = await access.create_key(
        name=body.name,
        role=body.role,
        namespaces=body.namespaces,
        roles=body.roles,
        created_by=call.caller.actor,
        expires_at=body.expires_at,
        granted_by=call.caller,
    )
    # A key carries its public id; the row has the rest, and of a name there is one that has not been revoked.
    found = (await access.page_of_keys(call.caller, name=body.name, sort=IdSort.NEWEST)).items
    key = next(key for key in found if f"_{key.key_id}_" in plain)
    return answer(KeyCreated(**_key(key).model_dump(), key=plain), status=201, headers={"Location": "/api/v1/keys"})


async def revoke_key(call: Call) -> Response:
    """End a key and every session that stands for it."""
    key = await call.services.access.revoke_key(call.request.path_params["keyId"], call.caller)
    return answer(_key(key))


def _probe(call: Call) -> Probe:
    probe: Probe = call.request.app.state.probe
    return probe


def _part(check: Check) -> PartAnswer:
    return PartAnswer(status="ok" if check.ok else "failing", response_time=_ms(check.ms))


def _ms(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _problems(found: Readiness) -> list[str]:
    """What is wrong, in words that anybody may read; the log has those that name servers and users."""
    words = []
    if not found.postgres.ok:
        words.append("Postgres does not answer")
    elif not found.schema_ok:
        words.append("the database schema is not the one this release needs: run `cronsvc migrate`")
    if not found.redis.ok:
        words.append("Redis does not answer: requests are served, executions wait")
    if found.fence is not None:
        words.append(
            "this database was restored or cloned: nothing is sent until an administrator confirms, see GET"
            " /api/v1/restore or `cronsvc restore status`"
        )
    return words


def _key(key: object) -> KeyAnswer:
    return KeyAnswer.model_validate(key, from_attributes=True)
