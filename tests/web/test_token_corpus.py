"""Every bad token of the corpus, sent to the door itself: 401 in the same words, whatever it is, and nothing more."""

import json
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette

from cronsvc.services.access import Access
from cronsvc.services.tokens import Tokens
from cronsvc.store.pool import Database
from cronsvc.web.app import Services, create_app
from tests.services.test_tokens import CORPUS, GOOD, ISSUERS, NOW, published
from tests.support.rows import one


@pytest.fixture
def app(services: Services, db: Database) -> Starlette:
    access = Access(db, tokens=Tokens(ISSUERS, published, clock=lambda: NOW))
    return create_app(replace(services, access=access))


async def asked(app: Starlette, *authorization: bytes) -> tuple[int, dict[str, Any]]:
    """GET /me with these Authorization headers, as the bytes they are: no client would send all of the corpus."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"cronsvc.test"), *((b"authorization", value) for value in authorization)]
    scope = {"type": "http", "method": "GET", "path": "/api/v1/me", "query_string": b"", "headers": headers}
    await app({"http_version": "1.1", "scheme": "http", "client": ("198.51.100.7", 1), **scope}, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body)


async def test_bad_tokens_open_no_door_and_learn_nothing(app: Starlette, db: Database) -> None:
    assert (await asked(app, b"Bearer " + GOOD.encode()))[0] == 200
    details = set()
    for name, made in CORPUS.items():
        token = made if isinstance(made, str) else made()
        status, problem = await asked(app, b"Bearer " + token.encode("utf-8", "surrogatepass"))
        assert (status, problem["type"]) == (401, "/problems/unauthenticated"), name
        details.add(problem["detail"])
    # One sentence for what is no token at all, one for all that are none of ours, one for what cannot be a key.
    assert len(details) <= 3, details
    assert await one(db, "SELECT count(*) FROM audit_log") == (0,)


async def test_a_second_authorization_header_is_no_way_round(app: Starlette) -> None:
    good = b"Bearer " + GOOD.encode()
    for headers in ((good, b"Bearer x"), (b"Bearer x", good), (good, good), (good + b", Bearer x",)):
        assert (await asked(app, *headers))[0] == 401, headers
