"""Operations on outbound.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from collections.abc import Sequence
from typing import Literal

from cronsvc.client.calls import UNSET, Call, Paged, Unset, call, nothing
from cronsvc.client.generated import answers


def list_egress(
    *,
    sort: Literal["name", "-name"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Egress, answers.EgressAnswers]:
    """List which namespaces may call only some targets. Needs the role viewer."""
    first = call(
        "listEgress",
        "GET",
        "/api/v1/egress",
        answers.EgressAnswers.model_validate_json,
        query={
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def get_egress(
    namespace: str,
) -> Call[answers.Egress]:
    """Read what the jobs of a namespace may call. Needs the role viewer."""
    return call(
        "getEgress",
        "GET",
        "/api/v1/egress/{namespace}",
        answers.Egress.model_validate_json,
        names={
            "namespace": namespace,
        },
    )


def put_egress(
    namespace: str,
    *,
    hosts: Sequence[str] | Unset = UNSET,
    networks: Sequence[str] | Unset = UNSET,
) -> Call[answers.Egress]:
    """Say what the jobs of a namespace may call. Needs the role admin."""
    return call(
        "putEgress",
        "PUT",
        "/api/v1/egress/{namespace}",
        answers.Egress.model_validate_json,
        names={
            "namespace": namespace,
        },
        body={
            "hosts": hosts,
            "networks": networks,
        },
    )


def delete_egress(
    namespace: str,
) -> Call[None]:
    """Lift the egress list of a namespace. Needs the role admin."""
    return call(
        "deleteEgress",
        "DELETE",
        "/api/v1/egress/{namespace}",
        nothing,
        statuses=(204,),
        names={
            "namespace": namespace,
        },
    )


def list_hosts(
    *,
    sort: Literal["name", "-name"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Host, answers.HostList]:
    """List hosts with budgets and breakers. Needs the role viewer."""
    first = call(
        "listHosts",
        "GET",
        "/api/v1/hosts",
        answers.HostList.model_validate_json,
        query={
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)


def get_host(
    host: str,
) -> Call[answers.Host]:
    """Read a host. Needs the role viewer."""
    return call(
        "getHost",
        "GET",
        "/api/v1/hosts/{host}",
        answers.Host.model_validate_json,
        names={
            "host": host,
        },
    )


def put_host(
    host: str,
    *,
    calls_per_second: int | Unset | None = UNSET,
    calls_per_minute: int | Unset | None = UNSET,
    max_concurrent: int | Unset | None = UNSET,
    breaker_failures: int | Unset | None = UNSET,
    breaker_open_seconds: int | Unset = UNSET,
) -> Call[answers.Host]:
    """Set the budgets and the breaker of a host. Needs the role admin."""
    return call(
        "putHost",
        "PUT",
        "/api/v1/hosts/{host}",
        answers.Host.model_validate_json,
        names={
            "host": host,
        },
        body={
            "callsPerSecond": calls_per_second,
            "callsPerMinute": calls_per_minute,
            "maxConcurrent": max_concurrent,
            "breakerFailures": breaker_failures,
            "breakerOpenSeconds": breaker_open_seconds,
        },
    )


def delete_host(
    host: str,
) -> Call[None]:
    """Forget the settings of a host. Needs the role admin."""
    return call(
        "deleteHost",
        "DELETE",
        "/api/v1/hosts/{host}",
        nothing,
        statuses=(204,),
        names={
            "host": host,
        },
    )


def trip_host(
    host: str,
    *,
    seconds: int | Unset | None = UNSET,
    note: str | Unset | None = UNSET,
    idempotency_key: str | None = None,
) -> Call[answers.Host]:
    """Let no job call a host. Needs the role operator."""
    return call(
        "tripHost",
        "POST",
        "/api/v1/hosts/{host}/trip",
        answers.Host.model_validate_json,
        names={
            "host": host,
        },
        body={
            "seconds": seconds,
            "note": note,
        },
        idempotency_key=idempotency_key,
    )


def reset_host(
    host: str,
    *,
    idempotency_key: str | None = None,
) -> Call[answers.Host]:
    """Let jobs call a host again. Needs the role operator."""
    return call(
        "resetHost",
        "POST",
        "/api/v1/hosts/{host}/reset",
        answers.Host.model_validate_json,
        names={
            "host": host,
        },
        idempotency_key=idempotency_key,
    )


def list_holds(
    *,
    host: str | None = None,
    execution_id: int | None = None,
    sort: Literal["-heldFrom", "heldFrom"] | None = None,
    cursor: str | None = None,
    page_size: int | None = None,
) -> Paged[answers.Hold, answers.HoldList]:
    """List executions that waited for a host. Needs the role viewer."""
    first = call(
        "listHolds",
        "GET",
        "/api/v1/holds",
        answers.HoldList.model_validate_json,
        query={
            "host": host,
            "executionId": execution_id,
            "sort": sort,
            "cursor": cursor,
            "limit": page_size,
        },
    )
    return Paged(first)
