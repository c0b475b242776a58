"""The guards of cronsvc and how each is weakened in a process: text is taken out of a statement, a function replaced.

Nothing here may fail to bite quietly: a text or a function that is gone is a SeamError at the start of the process.
"""

import asyncio
import importlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from tests.faults.seams import SeamError


def apply(name: str) -> None:
    """Weaken a guard in this process. SeamError: there is no such mutant, or no such guard any more."""
    if name not in GUARDS:
        raise SeamError(f"there is no mutant {name!r}; there are {', '.join(GUARDS)}")
    GUARDS[name]()


def module(name: str) -> Any:
    return importlib.import_module(f"cronsvc.{name}")


def present(holder: Any, name: str) -> Any:
    """The attribute that is about to be replaced; SeamError unless it is there."""
    try:
        return vars(holder)[name]
    except KeyError as error:
        raise SeamError(f"there is no {getattr(holder, '__name__', holder)}.{name} any more") from error


def without(holder: Any, name: str, *cuts: str, to: str = "") -> None:
    """Replace each of these texts in a statement by `to`."""
    statement = present(holder, name)
    text = statement.as_string(None) if isinstance(statement, sql.Composable) else statement
    for cut in cuts:
        if cut not in text:
            raise SeamError(f"{holder.__name__}.{name} has no {cut!r} any more")
        text = text.replace(cut, to)
    setattr(holder, name, text)


def blind_insert() -> None:
    """M1. The row of an instant is no longer unique; the scenario drops the key itself."""
    without(module("store.ticks"), "RECORD", "ON CONFLICT (job_id, scheduled_time) DO NOTHING")


def blind_claim() -> None:
    """M2. A claim that trusts its ticket: whatever state the row is in, this is the attempt after the ticket's."""
    running = module("store.running")
    without(running, "CLAIM", "attempt = e.attempt + 1, claim_no = e.claim_no + 1", to=_TICKETS_ATTEMPT)
    without(running, "CLAIM", "AND e.claim_no = t.claim_no", "AND e.status = 'QUEUED'")


_TICKETS_ATTEMPT = "attempt = t.claim_no + 1, claim_no = t.claim_no + 1"


def unfenced_finish() -> None:
    """M3. An end is written whoever holds the row by now."""
    without(module("store.running"), "FINISH", "AND e.claim_no = t.claim_no", "AND e.status = 'RUNNING'")


def early_push() -> None:
    """M4. Tickets leave before the commit of their rows."""
    scheduling = module("services.scheduling").Scheduling
    record = present(scheduling, "_record")

    async def pushing(self: Any, *args: Any) -> list[Any]:
        await self._dispatcher.push(await record(self, *args))
        return []

    scheduling._record = pushing


def no_redispatch() -> None:
    """M5. Nobody looks after tickets that got lost."""
    dispatcher = module("services.dispatch").Dispatcher
    for name, answer in (("redispatch", 0), ("watch_epoch", False)):
        present(dispatcher, name)

        async def nothing(_: Any, answer: int = answer) -> int:
            return answer

        setattr(dispatcher, name, nothing)


def host_clock() -> None:
    """M6. The clock of the host decides what is due, when a tick may commit, and whether a claim is early."""
    ticks, running = module("store.ticks"), module("store.running")
    take_due, claim, statement = present(ticks, "take_due"), present(running, "claim"), present(running, "CLAIM")
    guard = "e.ready_at <= clock_timestamp()"
    if guard not in statement:
        raise SeamError(f"cronsvc.store.running.CLAIM has no {guard!r} any more")

    async def take_due_by_host(conn: Any, **given: Any) -> Any:
        return await take_due(conn, **given | {"now": given["now"] or datetime.now(UTC)})

    async def wait_for_nothing(_conn: Any, _instant: Any) -> None:
        return

    async def claim_by_host(*args: Any, **given: Any) -> Any:
        running.CLAIM = statement.replace(guard, f"e.ready_at <= '{datetime.now(UTC).isoformat()}'")
        return await claim(*args, **given)

    present(ticks, "await_instant")
    ticks.take_due, ticks.await_instant, running.claim = take_due_by_host, wait_for_nothing, claim_by_host


def own_retries() -> None:
    """M7. Something below the worker tries again by itself, as SAQ would with retries."""
    running = module("services.running")
    execute = present(running, "_execute")

    async def stubborn(*args: Any, **kwargs: Any) -> Any:
        for _ in range(3):
            outcome = await execute(*args, **kwargs)
            if outcome.error is None:
                break
        return outcome

    def again(*args: Any, **kwargs: Any) -> Any:
        return stubborn(*args, **kwargs)

    running._execute = again


def client_retries() -> None:
    """M7b. The HTTP client sends a request again when a kept connection breaks under it."""
    sessions = module("executors.api_call_sessions")
    present(sessions, "_send_once")

    async def send(request: Any, handler: Any) -> Any:
        return await handler(request)

    sessions._send_once = send


def reused_key() -> None:
    """M8. A ticket whose lane lost its list is refused for ever, because its key still stands in the sorted set."""
    scripts = module("queue.scripts")
    for name in ("PUSH", "FETCH"):
        without(scripts, name, "if broken(queued, incomplete) then", to="if false then")


def patient_locks() -> None:
    """M9. A frozen session keeps its transaction, and with it its locks."""
    pool = module("store.pool")
    name = "idle_in_transaction_session_timeout"
    if name not in present(pool, "SESSION"):
        raise SeamError(f"cronsvc.store.pool.SESSION has no {name} any more")
    pool.SESSION = {**pool.SESSION, name: "0"}


def session_locks() -> None:
    """M10. Advisory locks belong to the session, which a pool, ours or pgbouncer's, hands on to somebody else."""
    for place, name in (("store.ticks", "TAKE_DUE"), ("store.advisory", "TRY_LOCK")):
        without(module(place), name, "pg_try_advisory_xact_lock", to="pg_try_advisory_lock")


def trusted_lock() -> None:
    """M11. Only the advisory lock keeps two schedulers apart: no unique key, no row locks."""
    blind_insert()
    without(module("store.ticks"), "TAKE_DUE", "FOR NO KEY UPDATE OF jobs SKIP LOCKED")


def no_back_off() -> None:
    """M12. A worker that cannot reach Redis asks again at once."""
    hub = module("queue.hub").Hub
    present(hub, "_back_off")

    async def at_once(_self: Any, _error: Exception) -> None:
        await asyncio.sleep(0)

    hub._back_off = at_once


def quoting() -> None:
    """M13. The reason of a failure is the exception's own text, and says what was called."""
    api_call = module("executors.api_call")
    present(api_call, "reason_of")
    api_call.reason_of = lambda error, config, _exchange: f"{error} while calling {config.url}"


def unbounded_catch_up() -> None:
    """M14. Everything that was missed runs, whatever the policy."""
    plan = module("domain.plan")
    present(plan, "_misfires_to_run")
    fires_between = present(plan, "fires_between")
    plan._misfires_to_run = lambda job, before, last: fires_between(job.schedule, before, last, 1000)


def shared_thread() -> None:
    """M15. A plain handler runs in the thread of the heartbeat, and not in a process of its own."""
    python, handlers = module("executors.python"), module("handlers")
    outcome = module("domain.execution").Outcome
    present(python, "_call_in_child")
    fields = present(python, "_fields")

    async def in_the_loop(config: Any, context: Any) -> Any:
        given = handlers.SyncContext(
            **fields(config, context), scheduled_time=context.scheduled_time, reporter=context.reporter
        )
        return outcome(result=config.handler.function(given))

    python._call_in_child = in_the_loop


def no_fence() -> None:
    """M16. Nobody asks whether the database is a copy of another one."""
    fence, opened = module("services.fence").Fence, module("store.identity").OPEN
    asks = "AND NOT (SELECT cronsvc_fenced())"
    without(module("store.ticks"), "TAKE_DUE", asks)
    without(module("store.ticks"), "NEXT_INSTANTS", "cronsvc_fenced() AS fenced", to="false AS fenced")
    without(module("store.dispatches"), "WAITING", asks)
    without(module("store.running"), "CLAIM", f"AND {opened}")
    for name, answer in (("holds", False), ("look", True)):
        present(fence, name)

        async def careless(_: Any, answer: bool = answer) -> bool:
            return answer

        setattr(fence, name, careless)


def forgetful_seal() -> None:
    """M17. Entries stop waiting for their places in the chain without having got one."""
    chain = module("store.audit_chain")
    present(chain, "SEAL")
    chain.SEAL = (
        "WITH gone AS (DELETE FROM audit_unsealed RETURNING 1)"
        " SELECT count(*)::integer AS sealed, 0::bigint AS head_place, ''::bytea AS head_hash FROM gone"
        " WHERE %(most)s > 0"
    )


GUARDS: Mapping[str, Callable[[], None]] = {
    "M1": blind_insert,
    "M2": blind_claim,
    "M3": unfenced_finish,
    "M4": early_push,
    "M5": no_redispatch,
    "M6": host_clock,
    "M7": own_retries,
    "M7b": client_retries,
    "M8": reused_key,
    "M9": patient_locks,
    "M10": session_locks,
    "M11": trusted_lock,
    "M12": no_back_off,
    "M13": quoting,
    "M14": unbounded_catch_up,
    "M15": shared_thread,
    "M16": no_fence,
    "M17": forgetful_seal,
}
