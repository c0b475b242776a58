"""The part of the route table about the service itself: clean-up, status, keys, probes and its own description."""

from cronsvc.services.access import Role
from cronsvc.web import history_handlers, problems, service_handlers
from cronsvc.web.history_models import CleanupAnswer, CleanupIn
from cronsvc.web.routing import PUBLIC, Route
from cronsvc.web.service_models import (
    HealthAnswer,
    KeyAnswer,
    KeyCreated,
    KeyIn,
    KeyList,
    KeyQuery,
    MeAnswer,
    OpenApiAnswer,
    ReadyAnswer,
    StatusAnswer,
)

V1 = "/api/v1"
VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN

SERVICE_ROUTES = (
    Route(
        "POST",
        f"{V1}/cleanup",
        OPERATOR,
        history_handlers.clean_up,
        "cleanup",
        "Delete executions that ended long ago",
        "service",
        body=CleanupIn,
        body_optional=True,
        answer=CleanupAnswer,
        takes_idempotency_key=True,
    ),
    Route(
        "GET",
        f"{V1}/status",
        VIEWER,
        service_handlers.status,
        "getStatus",
        "What is going on",
        "service",
        answer=StatusAnswer,
    ),
    Route(
        "GET", f"{V1}/me", VIEWER, service_handlers.me, "getMe", "Who the key speaks for", "service", answer=MeAnswer
    ),
    Route(
        "GET",
        f"{V1}/keys",
        ADMIN,
        service_handlers.list_keys,
        "listKeys",
        "List API keys",
        "keys",
        query=KeyQuery,
        answer=KeyList,
    ),
    Route(
        "POST",
        f"{V1}/keys",
        ADMIN,
        service_handlers.create_key,
        "createKey",
        "Create an API key, shown this once",
        "keys",
        status=201,
        body=KeyIn,
        answer=KeyCreated,
        problems=(problems.CONFLICT,),
    ),
    Route(
        "DELETE",
        f"{V1}/keys/{{keyId}}",
        ADMIN,
        service_handlers.revoke_key,
        "revokeKey",
        "Revoke an API key",
        "keys",
        answer=KeyAnswer,
    ),
    Route("GET", "/health", PUBLIC, service_handlers.health, "getHealth", "Liveness", "probes", answer=HealthAnswer),
    Route(
        "GET",
        "/ready",
        PUBLIC,
        service_handlers.ready,
        "getReady",
        "Readiness: 503 with the parts that fail",
        "probes",
        answer=ReadyAnswer,
        other_answers=((503, ReadyAnswer),),
    ),
    Route(
        "GET",
        "/openapi.json",
        PUBLIC,
        service_handlers.openapi,
        "getOpenapi",
        "This document",
        "probes",
        answer=OpenApiAnswer,
    ),
)
