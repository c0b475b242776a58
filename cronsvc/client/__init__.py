"""The Python client: every operation of the OpenAPI document, typed, with and without asyncio.

    with Client("https://cron.example.com", api_key) as client:
        for job in client.jobs.list(tag="billing"):
            print(job.name, job.next_fire_time)

It imports nothing of the service but the base class of its errors. A POST carries an Idempotency-Key, so what is lost
on the way is sent again and still happens once. `answers` are what comes back, `requests` the parts of what is sent;
a mapping with the API's own names does in place of such a part. Errors are in `errors`.
"""

from cronsvc.client.calls import UNSET, Call, Paged, Unset
from cronsvc.client.clients import AsyncClient, Client
from cronsvc.client.errors import (
    ApiError,
    BadCall,
    ClientError,
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    Invalid,
    Misconfigured,
    NotFound,
    PreconditionFailed,
    RateLimited,
    ServiceFailed,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from cronsvc.client.generated import answers, requests
from cronsvc.client.parts import AsyncPages, Pages
from cronsvc.client.talking import Retries, Timeouts

__all__ = [
    "UNSET",
    "ApiError",
    "AsyncClient",
    "AsyncPages",
    "BadCall",
    "Call",
    "Client",
    "ClientError",
    "Conflict",
    "FieldError",
    "Forbidden",
    "Gone",
    "Invalid",
    "Misconfigured",
    "NotFound",
    "Paged",
    "Pages",
    "PreconditionFailed",
    "RateLimited",
    "Retries",
    "ServiceFailed",
    "Timeouts",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Unset",
    "answers",
    "requests",
]
