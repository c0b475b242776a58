"""/api/v1/egress, /api/v1/hosts and /api/v1/holds: whom jobs may call, how much, and what waits for it."""

from starlette.responses import Response

from cronsvc.services.callers import Role
from cronsvc.services.egress_lists import NamespaceLists
from cronsvc.store.egress_lists import StoredList
from cronsvc.store.target_hosts import HostHold, TargetHost
from cronsvc.web import problems
from cronsvc.web.answers import answer
from cronsvc.web.outbound_models import (
    BreakerAnswer,
    EgressAnswer,
    EgressAnswers,
    EgressListAnswer,
    EgressListIn,
    HoldAnswer,
    HoldList,
    HoldsQuery,
    HostAnswer,
    HostIn,
    HostList,
    PagesQuery,
    TripIn,
)
from cronsvc.web.routing import Call, Route

V1 = "/api/v1"


async def list_egress(call: Call) -> Response:
    """Namespaces that have an egress list, by name."""
    query: PagesQuery = call.query
    page = await call.services.egress_lists.list(call.caller, sort=query.sort, cursor=query.cursor, limit=query.limit)
    return answer(EgressAnswers(items=[_egress(each) for each in page.items], next_cursor=page.next_cursor))


async def get_egress(call: Call) -> Response:
    """What the jobs of a namespace may call."""
    return answer(_egress(await call.services.egress_lists.get(_in_path(call, "namespace"), call.caller)))


async def put_egress(call: Call) -> Response:
    """Say what the jobs of a namespace may call; who administers only that narrows what the service permits."""
    body: EgressListIn = call.body
    found = await call.services.egress_lists.put(_in_path(call, "namespace"), body.hosts, body.networks, call.caller)
    return answer(_egress(found))


async def delete_egress(call: Call) -> Response:
    """Lift the list of a namespace: an administrator of everything both, one of the namespace its own."""
    await call.services.egress_lists.delete(_in_path(call, "namespace"), call.caller)
    return Response(status_code=204)


async def list_hosts(call: Call) -> Response:
    """Hosts with settings, by name."""
    query: PagesQuery = call.query
    page = await call.services.target_hosts.list(call.caller, sort=query.sort, cursor=query.cursor, limit=query.limit)
    return answer(HostList(items=[_host(each) for each in page.items], next_cursor=page.next_cursor))


async def get_host(call: Call) -> Response:
    """A host, its breaker and what waits for it."""
    return answer(_host(await call.services.target_hosts.get(_in_path(call, "host"), call.caller)))


async def put_host(call: Call) -> Response:
    """Set the budgets and the breaker of a host, for the jobs of all namespaces and workers together."""
    body: HostIn = call.body
    return answer(_host(await call.services.target_hosts.put(_in_path(call, "host"), body.model_dump(), call.caller)))


async def delete_host(call: Call) -> Response:
    """Forget the settings of a host; what waits for it goes at once."""
    await call.services.target_hosts.delete(_in_path(call, "host"), call.caller)
    return Response(status_code=204)


async def trip_host(call: Call) -> Response:
    """Open the breaker of a host by hand: within a second no job calls it, and executions wait instead of failing."""
    body: TripIn = call.body
    found = await call.services.target_hosts.trip(
        _in_path(call, "host"), call.caller, seconds=body.seconds, note=body.note
    )
    return answer(_host(found))


async def reset_host(call: Call) -> Response:
    """Close the breaker of a host by hand; what waits for it goes at once."""
    return answer(_host(await call.services.target_hosts.reset(_in_path(call, "host"), call.caller)))


async def list_holds(call: Call) -> Response:
    """Executions that waited or wait for a host."""
    query: HoldsQuery = call.query
    page = await call.services.target_hosts.holds(
        call.caller,
        host=query.host,
        execution_id=query.execution_id,
        sort=query.sort,
        cursor=query.cursor,
        limit=query.limit,
    )
    return answer(HoldList(items=[_hold(each) for each in page.items], next_cursor=page.next_cursor))


def _in_path(call: Call, name: str) -> str:
    text: str = call.request.path_params[name]
    return text


def _egress(found: NamespaceLists) -> EgressAnswer:
    return EgressAnswer(namespace=found.namespace, service=_layer(found.service), own=_layer(found.own))


def _layer(found: StoredList | None) -> EgressListAnswer | None:
    if found is None:
        return None
    return EgressListAnswer(
        hosts=list(found.entries.hosts),
        networks=[str(network) for network in found.entries.networks],
        updated_at=found.updated_at,
        updated_by=found.updated_by,
    )


def _host(found: TargetHost) -> HostAnswer:
    rule = found.rule
    return HostAnswer(
        host=rule.host,
        calls_per_second=rule.calls_per_second,
        calls_per_minute=rule.calls_per_minute,
        max_concurrent=rule.max_concurrent,
        breaker_failures=rule.breaker_failures,
        breaker_open_seconds=rule.breaker_open_seconds,
        breaker=BreakerAnswer(
            state=rule.state.value,
            failures=rule.failures,
            changed_at=found.changed_at,
            open_until=found.open_until,
            tripped_by=found.tripped_by,
            note=found.note,
        ),
        running=found.running,
        held=found.held,
        updated_at=found.updated_at,
        updated_by=found.updated_by,
    )


def _hold(found: HostHold) -> HoldAnswer:
    return HoldAnswer.model_validate({name: getattr(found, name) for name in HoldAnswer.model_fields})


OUTBOUND_ROUTES = (
    Route(
        "GET",
        f"{V1}/egress",
        Role.VIEWER,
        list_egress,
        "listEgress",
        "List which namespaces may call only some targets",
        "outbound",
        query=PagesQuery,
        answer=EgressAnswers,
    ),
    Route(
        "GET",
        f"{V1}/egress/{{namespace}}",
        Role.VIEWER,
        get_egress,
        "getEgress",
        "Read what the jobs of a namespace may call",
        "outbound",
        answer=EgressAnswer,
    ),
    Route(
        "PUT",
        f"{V1}/egress/{{namespace}}",
        Role.ADMIN,
        put_egress,
        "putEgress",
        "Say what the jobs of a namespace may call",
        "outbound",
        body=EgressListIn,
        answer=EgressAnswer,
    ),
    Route(
        "DELETE",
        f"{V1}/egress/{{namespace}}",
        Role.ADMIN,
        delete_egress,
        "deleteEgress",
        "Lift the egress list of a namespace",
        "outbound",
        status=204,
    ),
    Route(
        "GET",
        f"{V1}/hosts",
        Role.VIEWER,
        list_hosts,
        "listHosts",
        "List hosts with budgets and breakers",
        "outbound",
        query=PagesQuery,
        answer=HostList,
    ),
    Route(
        "GET",
        f"{V1}/hosts/{{host}}",
        Role.VIEWER,
        get_host,
        "getHost",
        "Read a host",
        "outbound",
        answer=HostAnswer,
    ),
    Route(
        "PUT",
        f"{V1}/hosts/{{host}}",
        Role.ADMIN,
        put_host,
        "putHost",
        "Set the budgets and the breaker of a host",
        "outbound",
        body=HostIn,
        answer=HostAnswer,
        problems=(problems.CONFLICT,),
    ),
    Route(
        "DELETE",
        f"{V1}/hosts/{{host}}",
        Role.ADMIN,
        delete_host,
        "deleteHost",
        "Forget the settings of a host",
        "outbound",
        status=204,
    ),
    Route(
        "POST",
        f"{V1}/hosts/{{host}}/trip",
        Role.OPERATOR,
        trip_host,
        "tripHost",
        "Let no job call a host",
        "outbound",
        body=TripIn,
        body_optional=True,
        answer=HostAnswer,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    ),
    Route(
        "POST",
        f"{V1}/hosts/{{host}}/reset",
        Role.OPERATOR,
        reset_host,
        "resetHost",
        "Let jobs call a host again",
        "outbound",
        answer=HostAnswer,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    ),
    Route(
        "GET",
        f"{V1}/holds",
        Role.VIEWER,
        list_holds,
        "listHolds",
        "List executions that waited for a host",
        "outbound",
        query=HoldsQuery,
        answer=HoldList,
    ),
)
