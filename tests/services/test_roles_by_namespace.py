"""Keys with a role for each namespace, and callers who are held to the namespaces where their role suffices."""

import pytest

from cronsvc.errors import Forbidden, InvalidInput
from cronsvc.services.access import Access, Caller, Role
from cronsvc.services.callers import Grant
from cronsvc.store.pool import Database
from tests.support.rows import one

MIXED = {"red": Role.ADMIN, "blue": Role.OPERATOR, "grey": Role.VIEWER}


async def test_a_key_has_a_role_in_each_namespace(db: Database) -> None:
    access = Access(db)
    key = await access.create_key(name="team", roles=MIXED, created_by="cli")
    caller = await access.authenticate(key, None)
    assert (caller.role, caller.namespaces, caller.roles) == (Role.VIEWER, ("red", "blue", "grey"), MIXED)
    # What the release before this one would make of it: less, never more.
    assert await one(db, "SELECT role, namespaces FROM api_keys") == ("viewer", ["red", "blue", "grey"])
    (listed,) = await access.list_keys()
    assert listed.roles == MIXED
    assert await one(db, "SELECT after->'roles' FROM audit_log") == (MIXED,)
    token, _ = await access.open_session(key, None)
    assert await access.session(token, None) == caller


def test_a_caller_acts_where_the_role_reaches() -> None:
    caller = Caller("key:team", Role.VIEWER, tuple(MIXED), None, MIXED)
    assert caller.acting_as(Role.VIEWER) == caller
    operating = caller.acting_as(Role.OPERATOR)
    assert (operating.role, operating.namespaces, operating.held_back) == (Role.OPERATOR, ("red", "blue"), True)
    administering = caller.acting_as(Role.ADMIN)
    assert (administering.role, administering.namespaces, administering.roles) == (Role.ADMIN, ("red",), None)
    with pytest.raises(Forbidden):
        Caller("key:x", Role.VIEWER, ("red",)).acting_as(Role.OPERATOR)
    with pytest.raises(Forbidden):
        Caller("key:x", Role.VIEWER, ("a", "b"), None, {"a": Role.VIEWER, "b": Role.OPERATOR}).acting_as(Role.ADMIN)


def test_the_same_role_everywhere_is_an_ordinary_grant() -> None:
    assert Grant.of_roles({"a": Role.OPERATOR, "b": Role.OPERATOR}) == Grant(Role.OPERATOR, ("a", "b"))


async def test_nobody_grants_more_than_they_have_in_any_namespace(db: Database) -> None:
    access = Access(db)
    red = Caller("key:red", Role.ADMIN, ("red",))
    with pytest.raises(Forbidden):
        await access.create_key(name="k", roles=MIXED, created_by="x", granted_by=red)
    with pytest.raises(Forbidden):
        operator = Caller("key:op", Role.OPERATOR, None)
        await access.create_key(
            name="k", roles={"red": Role.VIEWER, "blue": Role.ADMIN}, created_by="x", granted_by=operator
        )
    await access.create_key(name="k", roles={"red": Role.ADMIN}, created_by="x", granted_by=red)


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({}, "role"),
        ({"role": Role.VIEWER, "roles": MIXED}, "role"),
        ({"roles": {}}, "roles"),
        ({"roles": {"no space": Role.VIEWER}}, "roles"),
        ({"roles": MIXED, "namespaces": ["red"]}, "roles"),
    ],
)
async def test_one_role_or_one_in_each(db: Database, fields: dict[str, object], bad: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await Access(db).create_key(name="k", created_by="x", **fields)  # type: ignore[arg-type]
    assert bad in [error.field for error in refused.value.errors]
