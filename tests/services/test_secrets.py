"""Secrets: sealed, kept, rotated, and known only to those who may."""

import asyncio
import json

import pytest
from cryptography.fernet import Fernet

from cronsvc.errors import Conflict, Forbidden, InvalidInput, NotFound
from cronsvc.services.access import Caller, Role
from cronsvc.services.sealing import Keyring, Unreadable, new_key
from cronsvc.services.secrets import Secrets
from cronsvc.store.pool import Database
from tests.support.rows import fetch, one

ADMIN = Caller("key:admin", Role.ADMIN, None, "10.1.2.3")
RED = Caller("key:red", Role.ADMIN, ("red",), None)
VALUE = "hunter2-hunter2"


@pytest.fixture
def key() -> str:
    return new_key()


@pytest.fixture
def keyring(key: str) -> Keyring:
    return Keyring([key])


def test_what_is_sealed_opens_in_its_own_row_only(keyring: Keyring) -> None:
    sealed = keyring.seal(VALUE, namespace="default", name="a")
    assert VALUE.encode() not in sealed
    assert keyring.unseal(sealed, namespace="default", name="a") == VALUE
    for place in ({"namespace": "default", "name": "b"}, {"namespace": "red", "name": "a"}):
        with pytest.raises(Unreadable):
            keyring.unseal(sealed, **place)


def test_another_key_opens_nothing_and_an_old_one_still_does() -> None:
    old, new = new_key(), new_key()
    sealed = Keyring([old]).seal(VALUE, namespace="default", name="a")
    with pytest.raises(Unreadable):
        Keyring([new]).unseal(sealed, namespace="default", name="a")
    assert Keyring([new, old]).unseal(sealed, namespace="default", name="a") == VALUE
    with pytest.raises(Unreadable):
        Keyring([old]).unseal(sealed[:-1] + b"A", namespace="default", name="a")


def test_a_token_that_we_have_not_made_opens_nothing() -> None:
    key = new_key()
    with pytest.raises(Unreadable):
        Keyring([key]).unseal(Fernet(key).encrypt(json.dumps("x").encode()), namespace="default", name="a")


async def test_set_list_and_delete(db: Database, keyring: Keyring) -> None:
    secrets = Secrets(db, keyring)
    first = await secrets.set("default", "b", VALUE, ADMIN)
    await secrets.set("default", "a", VALUE, ADMIN)
    again = await secrets.set("default", "b", VALUE + "2", ADMIN)
    assert (first.version, again.version, again.created_by) == (1, 2, "key:admin")
    page = await secrets.list(ADMIN, limit=1)
    rest = await secrets.list(ADMIN, limit=1, cursor=page.next_cursor)
    assert [each.name for each in (*page.items, *rest.items)] == ["a", "b"]
    assert rest.next_cursor is None
    await secrets.delete("default", "a", ADMIN)
    with pytest.raises(NotFound):
        await secrets.delete("default", "a", ADMIN)
    assert [each.name for each in (await secrets.list(ADMIN)).items] == ["b"]


async def test_changes_are_audited_without_the_value(db: Database, key: str, keyring: Keyring) -> None:
    secrets = Secrets(db, keyring)
    await secrets.set("default", "a", VALUE, ADMIN)
    await secrets.set("default", "a", VALUE, ADMIN)
    await Secrets(db, Keyring([new_key(), key])).rotate(ADMIN)
    await secrets.delete("default", "a", ADMIN)
    rows = await fetch(
        db, "SELECT action, actor, source, entity_id, namespace FROM audit_log WHERE entity = 'secret' ORDER BY id"
    )
    assert [row[0] for row in rows] == ["create", "update", "rotate", "delete"]
    assert {row[1:] for row in rows} == {("key:admin", "10.1.2.3", "a", "default")}
    texts = await fetch(db, "SELECT a::text FROM audit_log a WHERE entity = 'secret'")
    (ciphertexts,) = await one(db, "SELECT count(*) FROM audit_log WHERE before ? 'ciphertext' OR after ? 'ciphertext'")
    assert not any(VALUE in text for (text,) in texts)
    assert ciphertexts == 0


async def test_namespaces_are_walls(db: Database, keyring: Keyring) -> None:
    secrets = Secrets(db, keyring)
    await secrets.set("default", "a", VALUE, ADMIN)
    await secrets.set("red", "a", VALUE, RED)
    assert [(each.namespace, each.name) for each in (await secrets.list(RED)).items] == [("red", "a")]
    assert (await secrets.list(RED, namespace="default")).items == ()
    with pytest.raises(Forbidden):
        await secrets.set("default", "a", VALUE, RED)
    with pytest.raises(NotFound):
        await secrets.delete("default", "a", RED)
    with pytest.raises(Forbidden):
        await secrets.rotate(RED)


@pytest.mark.parametrize("value", ["", "abc", "   a ", "x" * 65_537, "ab\0cd", "ab\ud800cd"])
async def test_values_that_are_none(db: Database, keyring: Keyring, value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await Secrets(db, keyring).set("default", "a", value, ADMIN)
    assert [each.field for each in caught.value.errors] == ["value"]


async def test_names_that_are_none(db: Database, keyring: Keyring) -> None:
    with pytest.raises(InvalidInput) as caught:
        await Secrets(db, keyring).set("a b", "-", VALUE, ADMIN)
    assert {each.field for each in caught.value.errors} == {"namespace", "name"}


async def test_without_keys_nothing_is_written_and_the_reason_is_told(db: Database, keyring: Keyring) -> None:
    await Secrets(db, keyring).set("default", "a", VALUE, ADMIN)
    off = Secrets(db, Keyring.of(()))
    for refused in (off.set("default", "b", VALUE, ADMIN), off.rotate(ADMIN)):
        with pytest.raises(Conflict, match="CRONSVC_SECRET_KEYS"):
            await refused
    assert [each.name for each in (await off.list(ADMIN)).items] == ["a"]


async def test_rotation_goes_through_all_in_batches_and_leaves_what_it_cannot_open(db: Database, key: str) -> None:
    fresh = new_key()
    for number in range(5):
        await Secrets(db, Keyring([key])).set("default", f"s{number}", f"{VALUE}{number}", ADMIN)
    await Secrets(db, Keyring([new_key()])).set("default", "s2-lost", VALUE, ADMIN)
    rotating = Secrets(db, Keyring([fresh, key]))
    assert await rotating.rotate(ADMIN, batch=2) == (5, ("default/s2-lost",))
    assert await rotating.rotate(ADMIN, batch=2) == (0, ("default/s2-lost",))
    rows = await fetch(db, "SELECT name, ciphertext, version FROM secrets WHERE name <> 's2-lost' ORDER BY name")
    only = Keyring([fresh])
    for number, (name, ciphertext, version) in enumerate(rows):
        assert only.unseal(ciphertext, namespace="default", name=name) == f"{VALUE}{number}"
        assert version == 1


async def test_two_rotations_and_a_writer_at_once_lose_nothing(db: Database, key: str) -> None:
    fresh = new_key()
    for number in range(20):
        await Secrets(db, Keyring([key])).set("default", f"s{number:02}", VALUE, ADMIN)
    rotating = Secrets(db, Keyring([fresh, key]))
    await asyncio.gather(
        rotating.rotate(ADMIN, batch=3),
        rotating.rotate(ADMIN, batch=4),
        *(rotating.set("default", f"s{number:02}", "new-value", ADMIN) for number in range(0, 20, 2)),
    )
    rows = await fetch(db, "SELECT name, ciphertext FROM secrets ORDER BY name")
    values = [Keyring([fresh]).unseal(ciphertext, namespace="default", name=name) for name, ciphertext in rows]
    assert values == ["new-value", VALUE] * 10
