"""Operations on probes.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from typing import Any

from cronsvc.client.calls import Call, any_object, call, text
from cronsvc.client.generated import answers


def get_health() -> Call[answers.Health]:
    """Liveness."""
    return call(
        "getHealth",
        "GET",
        "/health",
        answers.Health.model_validate_json,
    )


def get_ready() -> Call[answers.Ready]:
    """Readiness: 503 with the parts that fail."""
    return call(
        "getReady",
        "GET",
        "/ready",
        answers.Ready.model_validate_json,
        statuses=(200, 503),
    )


def get_openapi() -> Call[dict[str, Any]]:
    """This document."""
    return call(
        "getOpenapi",
        "GET",
        "/openapi.json",
        any_object,
    )


def get_metrics() -> Call[str]:
    """Numbers for Prometheus. Needs the role viewer."""
    return call(
        "getMetrics",
        "GET",
        "/metrics",
        text,
    )
