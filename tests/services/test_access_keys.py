"""API keys and sessions: who gets in, who does not, what is stored, how soon a revocation works."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cronsvc.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from cronsvc.services.access import CACHE_SECONDS, Access, Caller, Role
from cronsvc.store.pool import Database
from tests.support.rows import fetch, one

ADMIN = Caller("key:root", Role.ADMIN, None, "10.0.0.9")


class Clock:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def made(access: Access, name: str = "ci", **fields: Any) -> str:
    return await access.create_key(**({"name": name, "role": Role.OPERATOR, "created_by": "cli"} | fields))


def test_roles_are_ordered() -> None:
    reached = [(role, required) for role in Role for required in Role if role.reaches(required)]
    assert reached == [
        (Role.VIEWER, Role.VIEWER),
        (Role.OPERATOR, Role.VIEWER),
        (Role.OPERATOR, Role.OPERATOR),
        (Role.ADMIN, Role.VIEWER),
        (Role.ADMIN, Role.OPERATOR),
        (Role.ADMIN, Role.ADMIN),
    ]


async def test_a_key_says_who_calls_and_only_its_hash_is_stored(db: Database) -> None:
    access = Access(db)
    key = await made(access, namespaces=["red"])
    assert len(key) == 62 and key.startswith("csk_") and key[12] == "_"
    assert await access.authenticate(key, "1.2.3.4") == Caller("key:ci", Role.OPERATOR, ("red",), "1.2.3.4")
    row = await one(db, "SELECT key_id, secret_hash, k::text FROM api_keys AS k")
    assert (row[0], row[1]) == (key[4:12], hashlib.sha256(key.encode()).digest())
    assert key[13:56] not in row[2]
    (audited,) = await fetch(db, "SELECT actor, action, entity, entity_id, after FROM audit_log")
    assert audited[:4] == ("cli", "create", "api_key", key[4:12])
    assert audited[4] == {"name": "ci", "role": "operator", "namespaces": ["red"], "expires_at": None, "revoked": False}


async def test_a_typing_error_is_refused_without_a_query(db: Database) -> None:
    key = await made(Access(db))
    unasked = Access(await _closed())
    flipped = "a" if key[30] != "a" else "b"
    swapped = key[:20] + key[21] + key[20] + key[22:]
    wrong = ["", "csk_", key[:-1], key + "x", key.upper(), key[:30] + flipped + key[31:], "é" * 62, "\ud800", "\0", key + "\n"]  # fmt: skip # noqa: E501
    for bearer in [*wrong, *([swapped] if swapped != key else [])]:
        with pytest.raises(Unauthenticated):
            await unasked.authenticate(bearer, None)
        with pytest.raises(Unauthenticated):
            await unasked.open_session(bearer, None)


async def _closed() -> Database:
    """A database that answers no query."""
    database = await Database.open("postgresql:///nowhere", application_name="none", min_size=0)
    await database.close()
    return database


async def test_unknown_and_forged_keys_are_refused_in_the_same_words(db: Database) -> None:
    access = Access(db)
    mine, other = await made(access, "a"), await made(access, "b")
    await fetch(db, "DELETE FROM api_keys WHERE name = 'b' RETURNING 1")
    await fetch(db, "UPDATE api_keys SET secret_hash = sha256('x') RETURNING 1")
    said = set()
    for key in (mine, other):
        with pytest.raises(Unauthenticated) as refused:
            await access.authenticate(key, None)
        said.add(str(refused.value))
    assert len(said) == 1


async def test_a_revoked_key_is_out_at_once_here_and_soon_elsewhere(db: Database) -> None:
    clock = Clock()
    here, elsewhere = Access(db), Access(db, monotonic=clock)
    key = await made(here)
    await here.authenticate(key, None)
    await elsewhere.authenticate(key, None)
    (listed,) = await here.list_keys()
    revoked = await here.revoke_key(listed.key_id, ADMIN)
    assert revoked.revoked_at is not None
    with pytest.raises(Unauthenticated, match="revoked"):
        await here.authenticate(key, None)
    clock.now += CACHE_SECONDS + 0.001
    with pytest.raises(Unauthenticated, match="revoked"):
        await elsewhere.authenticate(key, None)
    row = await one(db, "SELECT actor, source, entity_id, before->'revoked', after->'revoked' FROM audit_log WHERE action = 'revoke'")  # fmt: skip # noqa: E501
    assert row == ("key:root", "10.0.0.9", listed.key_id, False, True)
    assert await here.revoke_key(listed.key_id, ADMIN) == revoked  # whose first answer was lost may ask again
    assert await fetch(db, "SELECT count(*) FROM audit_log WHERE action = 'revoke'") == [(1,)]
    with pytest.raises(NotFound):
        await here.revoke_key(listed.key_id, Caller("key:red", Role.ADMIN, ("red",)))


async def test_a_good_key_is_believed_for_five_seconds_and_no_longer(db: Database) -> None:
    clock = Clock()
    access = Access(db, monotonic=clock)
    key = await made(access)
    await access.authenticate(key, None)
    await fetch(db, "DELETE FROM api_keys RETURNING 1")
    clock.now += CACHE_SECONDS - 0.001
    assert (await access.authenticate(key, "again")).source == "again"
    clock.now += 0.001
    with pytest.raises(Unauthenticated):
        await access.authenticate(key, None)


async def test_a_key_expires_by_the_database_clock_cached_or_not(db: Database) -> None:
    clock = Clock()
    access = Access(db, monotonic=clock)
    key = await made(access, expires_at=datetime.now(UTC) + timedelta(hours=1))
    await fetch(db, "UPDATE api_keys SET expires_at = clock_timestamp() + interval '2 seconds' RETURNING 1")
    await access.authenticate(key, None)
    await fetch(db, "UPDATE api_keys SET expires_at = clock_timestamp() RETURNING 1")
    clock.now += 2.0  # what was left when it was asked for, less than the cache would keep
    with pytest.raises(Unauthenticated, match="expired"):
        await access.authenticate(key, None)


async def test_the_cache_is_bounded(db: Database) -> None:
    access = Access(db)
    key = await made(access)
    await access.authenticate(key, None)
    ((digest, entry),) = access._cache.items()
    access._cache = {bytes([n % 256, n // 256]): entry for n in range(1024)}
    await access.authenticate(key, None)
    assert len(access._cache) <= 1024 and digest in access._cache


async def test_use_is_noted_once_a_minute(db: Database) -> None:
    clock = Clock()
    access = Access(db, monotonic=clock)
    key = await made(access)
    assert await one(db, "SELECT last_used_at FROM api_keys") == (None,)
    await access.authenticate(key, None)
    (first,) = await one(db, "SELECT last_used_at FROM api_keys")
    assert first is not None
    clock.now += 10
    await access.authenticate(key, None)
    assert await one(db, "SELECT last_used_at FROM api_keys") == (first,)
    await fetch(db, "UPDATE api_keys SET last_used_at = last_used_at - interval '61 s' RETURNING 1")
    clock.now += 10
    await access.authenticate(key, None)
    assert await one(db, "SELECT last_used_at >= %s FROM api_keys", first) == (True,)


async def test_names_of_live_keys_are_unique(db: Database) -> None:
    access = Access(db)
    answers = await asyncio.gather(*(made(access) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(answer, Conflict) for answer in answers) == 7
    assert await one(db, "SELECT count(*), (SELECT count(*) FROM audit_log) FROM api_keys") == (1, 1)
    (key,) = await access.list_keys()
    await access.revoke_key(key.key_id, ADMIN)
    await made(access)
    assert [each.revoked_at is None for each in await access.list_keys()] == [False, True]


async def test_every_bad_field_of_a_key_is_named_and_nothing_written(db: Database) -> None:
    access = Access(db)
    with pytest.raises(InvalidInput) as refused:
        await made(access, " ", role="king", namespaces=[], expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert [error.field for error in refused.value.errors] == ["name", "role", "namespaces", "expiresAt"]
    with pytest.raises(InvalidInput):
        await made(access, expires_at=datetime(2040, 1, 1))
    assert await one(db, "SELECT count(*), (SELECT count(*) FROM audit_log) FROM api_keys") == (0, 0)


async def test_nobody_grants_more_than_they_have(db: Database) -> None:
    access = Access(db)
    red = Caller("key:red", Role.ADMIN, ("red",))
    operator = Caller("key:op", Role.OPERATOR, None)
    for fields in (
        {"granted_by": red},
        {"granted_by": red, "namespaces": ["red", "blue"]},
        {"granted_by": operator, "role": Role.ADMIN},
    ):
        with pytest.raises(Forbidden):
            await made(access, **fields)
    await made(access, "wide")
    await made(access, "mine", granted_by=red, namespaces=["red"])
    assert [key.name for key in await access.list_keys(red)] == ["mine"]
    wide, mine = await access.list_keys()
    with pytest.raises(NotFound):
        await access.revoke_key(wide.key_id, red)
    await access.revoke_key(mine.key_id, red)


async def test_the_first_admin_key_is_made_once(db: Database) -> None:
    access = Access(db)
    answers = await asyncio.gather(*(access.ensure_admin_key("admin") for _ in range(6)))
    (key,) = [answer for answer in answers if answer is not None]
    assert (await access.authenticate(key, None)) == Caller("key:admin", Role.ADMIN, None, None)
    assert await access.ensure_admin_key("admin") is None
    (listed,) = await access.list_keys()
    await access.revoke_key(listed.key_id, ADMIN)
    assert await access.ensure_admin_key("admin") is not None


async def test_a_session_stands_for_its_key(db: Database) -> None:
    access = Access(db)
    key = await made(access, namespaces=["red"])
    token, expires_at = await access.open_session(key, None)
    assert timedelta(hours=11) < expires_at - datetime.now(UTC) < timedelta(hours=13)
    assert await access.session(token, "1.1.1.1") == Caller("key:ci", Role.OPERATOR, ("red",), "1.1.1.1")
    assert await one(db, "SELECT token_hash FROM sessions") == (hashlib.sha256(token.encode()).digest(),)
    await access.close_session(token)
    with pytest.raises(Unauthenticated):
        await access.session(token, None)
    for nonsense in ("", "x", "\0", "\ud800", token[:-1] + ("A" if token[-1] != "A" else "B")):
        with pytest.raises(Unauthenticated):
            await access.session(nonsense, None)
        await access.close_session(nonsense)


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE api_keys SET revoked_at = clock_timestamp() RETURNING 1",
        "UPDATE api_keys SET expires_at = clock_timestamp() RETURNING 1",
        "UPDATE sessions SET expires_at = clock_timestamp() RETURNING 1",
    ],
    ids=["key-revoked", "key-expired", "session-expired"],
)
async def test_a_session_ends_with_its_time_and_with_its_key(db: Database, end: str) -> None:
    access = Access(db)
    token, _ = await access.open_session(await made(access), None)
    await access.session(token, None)
    await fetch(db, end)
    with pytest.raises(Unauthenticated):
        await access.session(token, None)


async def test_a_session_does_not_outlive_a_short_key(db: Database) -> None:
    access = Access(db)
    end = datetime.now(UTC) + timedelta(minutes=5)
    _, expires_at = await access.open_session(await made(access, expires_at=end), None)
    assert expires_at == end
