"""The audit log: what an entry says, that nothing changes one, and that a chain of hashes tells when something has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from cronsvc.errors import Forbidden, InvalidInput
from cronsvc.services.auditing import Auditing, Break, Verdict, seal_audit
from cronsvc.services.callers import Caller, Role, within
from cronsvc.store.audit_entries import Wanted
from cronsvc.store.origin import requested
from cronsvc.store.pool import Database
from tests.support.roles import logins
from tests.support.rows import define, fetch, one

ROOT = Caller("key:root", Role.ADMIN, None, "198.51.100.7")
ADD = "INSERT INTO audit_log (actor, action, entity, entity_id) VALUES ('x', 'test', 'thing', '{}') RETURNING id"


async def add(db: Database, name: object) -> int:
    return int((await fetch(db, ADD.format(name)))[0][0])


async def verdict(db: Database, anchor: str | None = None, batch: int = 2) -> Verdict:
    """Everything looked at, a batch a request."""
    auditing = Auditing(db, verify_batch=batch)
    found = await auditing.verify(ROOT, anchor=anchor, seconds=0)
    while found.broken is None and found.next_cursor is not None:
        found = await auditing.verify(ROOT, cursor=found.next_cursor, seconds=0)
    return found


@asynccontextmanager
async def past_the_triggers(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """What somebody with the rights of the owner can do on purpose."""
    async with await psycopg.AsyncConnection.connect(database_url) as conn:
        for table in ("audit_log", "audit_chain"):
            await conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        yield conn
        for table in ("audit_log", "audit_chain"):
            await conn.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())


@pytest.fixture
async def sealed(db: Database) -> list[int]:
    """Five sealed entries in places 1 to 5."""
    ids = [await add(db, n) for n in range(5)]
    assert await seal_audit(db) == 5
    assert (await verdict(db)).intact
    return ids


async def test_an_entry_says_who_what_when_from_where_and_for_which_request(db: Database) -> None:
    with requested("request-0001"):
        async with db.transaction(actor="key:ann", source="198.51.100.7") as conn:
            await conn.execute("INSERT INTO queues (name) VALUES ('q')")
            await conn.execute("UPDATE queues SET concurrency = 3 WHERE name = 'q'")
    (entry,) = (await Auditing(db).list(ROOT, Wanted(request_id="request-0001"))).items
    assert (entry.actor, entry.source, entry.entity, entry.entity_id) == ("key:ann", "198.51.100.7", "queue", "q")
    assert entry.before is not None and entry.after is not None
    assert (entry.before["concurrency"], entry.after["concurrency"]) == (None, 3)
    async with db.transaction(actor="key:ann") as conn:
        await conn.execute("UPDATE queues SET concurrency = 4 WHERE name = 'q'")
    newest = (await Auditing(db).list(ROOT, Wanted(entity_id="q"), limit=1)).items[0]
    assert newest.request_id is None and newest.at > entry.at


@pytest.mark.parametrize("table", ["audit_log", "audit_chain"])
@pytest.mark.parametrize("act", ["UPDATE {} SET {} = DEFAULT", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_even_the_owner_is_refused(database_url: str, sealed: list[int], table: str, act: str) -> None:
    column = "actor" if table == "audit_log" else "hash"
    async with await psycopg.AsyncConnection.connect(database_url) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            await conn.execute(act.format(table, column).encode())


async def test_the_chain_is_what_the_words_say(db: Database, sealed: list[int]) -> None:
    """Places without gaps, each hash over the one before: computed here by hand for the second entry."""
    rows = await fetch(db, "SELECT place, audit_id FROM audit_chain ORDER BY place")
    assert [tuple(row) for row in rows] == list(enumerate(sealed, 1))
    (by_hand,) = await one(
        db,
        "SELECT c.hash = sha256((SELECT hash FROM audit_chain WHERE place = 1) || convert_to(jsonb_build_array(1, a.id,"
        " to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'x', null, null, 'test', 'thing', '1',"
        " null, null, null)::text, 'UTF8')) FROM audit_chain c JOIN audit_log a ON a.id = c.audit_id WHERE c.place = 2",
    )
    assert by_hand is True


@pytest.mark.parametrize(
    ("act", "place", "which", "reason"),
    [
        ("UPDATE audit_log SET actor = 'somebody else' WHERE id = {2}", 3, 2, "changed"),
        ("UPDATE audit_log SET at = at + interval '1 us' WHERE id = {2}", 3, 2, "changed"),
        ("UPDATE audit_log SET before = '{{}}' WHERE id = {2}", 3, 2, "changed"),
        ("UPDATE audit_log SET request_id = 'other' WHERE id = {0}", 1, 0, "changed"),
        ("DELETE FROM audit_log WHERE id = {2}", 3, 2, "deleted"),
        ("DELETE FROM audit_log WHERE id = {4}", 5, 4, "deleted"),
        ("DELETE FROM audit_chain WHERE place = 3", 3, None, "unchained"),
        ("DELETE FROM audit_chain WHERE place = 1", 1, None, "unchained"),
        (
            "WITH a AS (DELETE FROM audit_chain WHERE place = 3) DELETE FROM audit_log WHERE id = {2}",
            3,
            None,
            "unchained",
        ),
        ("UPDATE audit_chain SET hash = sha256('x') WHERE place = 4", 4, 3, "changed"),
        (
            "UPDATE audit_log a SET entity_id = b.entity_id FROM audit_log b"
            " WHERE a.id IN ({1}, {3}) AND b.id = {1} + {3} - a.id",
            2,
            1,
            "changed",
        ),
        (
            "UPDATE audit_chain SET audit_id = CASE place WHEN 2 THEN -4 ELSE -2 END WHERE place IN (2, 4)",
            2,
            "-4",
            "deleted",
        ),
        ("DELETE FROM audit_chain WHERE place = 5", None, 4, "unchained"),
    ],
)
async def test_tampering_is_found_at_the_first_broken_row(
    db: Database,
    database_url: str,
    sealed: list[int],
    act: str,
    place: int | None,
    which: int | str | None,
    reason: str,
) -> None:
    async with past_the_triggers(database_url) as conn:
        await conn.execute(act.format(*sealed).encode())
    entry = int(which) if isinstance(which, str) else None if which is None else sealed[which]
    for batch in (1, 2, 100):
        assert (await verdict(db, batch=batch)).broken == Break(place, entry, reason)


async def test_swapped_entries_are_found(db: Database, database_url: str, sealed: list[int]) -> None:
    async with past_the_triggers(database_url) as conn:
        for old, new in ((sealed[1], -1), (sealed[3], sealed[1]), (-1, sealed[3])):
            await conn.execute("UPDATE audit_chain SET audit_id = %s WHERE audit_id = %s", (new, old))
    assert (await verdict(db)).broken == Break(2, sealed[3], "changed")


async def test_an_entry_put_in_past_the_triggers_is_found(db: Database, database_url: str, sealed: list[int]) -> None:
    async with past_the_triggers(database_url) as conn:
        row = await (await conn.execute(ADD.format("forged").encode())).fetchone()
    assert row is not None
    assert (await verdict(db)).broken == Break(None, row[0], "unchained")


async def test_an_entry_that_goes_before_it_is_sealed_is_found(db: Database, database_url: str) -> None:
    gone = await add(db, "short-lived")
    async with past_the_triggers(database_url) as conn:
        await conn.execute("DELETE FROM audit_log WHERE id = %s", (gone,))
    await add(db, "next")
    assert await seal_audit(db) == 1  # it holds up nobody
    assert (await verdict(db)).broken == Break(None, gone, "deleted")


async def test_a_tail_that_is_cut_off_is_known_by_an_anchor_only(
    db: Database, database_url: str, sealed: list[int]
) -> None:
    head = await Auditing(db).head(ROOT)
    assert head.hash is not None
    anchor = f"{head.place}:{head.hash.hex()}"
    await add(db, "later")
    await seal_audit(db)
    assert (await verdict(db, anchor)).intact
    async with past_the_triggers(database_url) as conn:
        await conn.execute("DELETE FROM audit_chain WHERE place >= 5")
        await conn.execute("DELETE FROM audit_log WHERE id >= %s", (sealed[4],))
    assert (await verdict(db)).intact
    assert (await verdict(db, anchor)).broken == Break(5, None, "truncated")
    await add(db, "another")
    await seal_audit(db)
    assert (await verdict(db)).intact
    assert (await verdict(db, anchor)).broken == Break(5, None, "rewritten")


async def test_writers_at_the_same_time_are_chained_in_the_order_of_their_commits(
    db: Database, database_url: str
) -> None:
    """The lower id commits last: it is sealed later, in a later place, and an aborted id leaves no gap."""
    async with await psycopg.AsyncConnection.connect(database_url) as slow:
        await slow.execute(ADD.format("slow").encode())
        async with await psycopg.AsyncConnection.connect(database_url) as aborted:
            await aborted.execute(ADD.format("aborted").encode())
            await aborted.rollback()
        quick = await add(db, "quick")
        assert await seal_audit(db) == 1  # and does not wait for the writer that is still at it
        await slow.commit()
    assert await seal_audit(db) == 1
    rows = await fetch(db, "SELECT a.entity_id FROM audit_chain c JOIN audit_log a ON a.id = c.audit_id ORDER BY place")
    assert [row[0] for row in rows] == ["quick", "slow"]
    assert (await fetch(db, "SELECT audit_id FROM audit_chain WHERE place = 2"))[0][0] < quick
    assert (await verdict(db)).intact


async def test_sealers_and_writers_at_the_same_time_make_one_chain(db: Database) -> None:
    async def write(name: str) -> None:
        for n in range(20):
            await add(db, f"{name}-{n}")

    async def seal() -> int:
        return sum([await seal_audit(db, batch=3) for _ in range(10)])

    *_, first, second = await asyncio.gather(write("a"), write("b"), seal(), seal())
    assert first is not None and second is not None
    rest = await seal_audit(db)
    assert first + second + rest == 40
    assert await one(db, "SELECT max(place) FROM audit_chain") == (40,)
    found = await verdict(db)
    assert found.intact and found.head.waiting == 0


async def test_a_writer_never_waits_for_a_sealer(db: Database, database_url: str) -> None:
    await add(db, "first")
    async with await psycopg.AsyncConnection.connect(database_url) as sealer:
        await sealer.execute("SELECT cronsvc_seal_audit(10)")  # and holds its lock
        second = await add(db, "second")
        found = await Auditing(db).list(ROOT, Wanted(entity="thing"))
        assert found.items[0].id == second
    assert await seal_audit(db) == 1


async def test_sealing_sends_no_vacuum_away(db: Database, database_url: str) -> None:
    await add(db, "first")
    async with await psycopg.AsyncConnection.connect(database_url) as sealer:
        await sealer.execute("SELECT cronsvc_seal_audit(10)")
        async with await psycopg.AsyncConnection.connect(database_url) as vacuum:
            for table in ("audit_chain", "audit_unsealed", "audit_log"):  # in the mode that vacuum takes
                await vacuum.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE NOWAIT".encode())


async def test_what_waits_is_told_and_not_taken_for_broken(db: Database, sealed: list[int]) -> None:
    await add(db, "waiting")
    found = await verdict(db)
    assert found.intact and found.head.waiting == 1 and found.head.waiting_since is not None
    assert found.head.place == 5


async def test_the_auditor_verifies_by_sql_and_the_api_in_its_role(
    db: Database, database_url: str, sealed: list[int]
) -> None:
    with logins(database_url) as urls:
        async with await psycopg.AsyncConnection.connect(urls["cronsvc_auditor"], autocommit=True) as conn:
            row = await (await conn.execute("SELECT checked, reason FROM cronsvc_v1.audit_verify()")).fetchone()
            assert row == (5, None)
            row = await (await conn.execute("SELECT broken_id FROM cronsvc_v1.audit_unchained()")).fetchone()
            assert row == (None,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await conn.execute("SELECT cronsvc_seal_audit(1)")
        await define(db, namespace="red")
        scheduler = await Database.open(urls["cronsvc_scheduler"], application_name="test", max_size=1)
        api = await Database.open(urls["cronsvc_api"], application_name="test", max_size=1)
        try:
            assert await seal_audit(scheduler) > 0
            with within(ROOT):
                found = await verdict(api)
                assert found.intact and found.unused_ids == 0
            red = Caller("key:red", Role.ADMIN, ("red",))
            with within(red):
                batches = await Auditing(api).export(red, Wanted())
            # read when the door is shut, as a streamed answer is
            entries = [entry async for batch in batches for entry in batch]
            assert {entry.namespace for entry in entries} == {"red"}
        finally:
            await scheduler.close()
            await api.close()


async def test_a_caller_with_namespaces_sees_theirs_and_verifies_nothing(db: Database, sealed: list[int]) -> None:
    await define(db, namespace="red")
    await define(db, namespace="blue")
    red = Caller("key:red", Role.ADMIN, ("red",))
    auditing = Auditing(db)
    assert {entry.namespace for entry in (await auditing.list(red, Wanted())).items} == {"red"}
    assert (await auditing.list(red, Wanted(), namespace="blue")).items == ()
    for refused in (auditing.verify(red), auditing.head(red)):
        with pytest.raises(Forbidden):
            await refused
    with pytest.raises(InvalidInput, match="there is no entry"):  # nor do they learn of entries by their ids
        await auditing.export(red, Wanted(), after_id=sealed[0])


@pytest.mark.parametrize("cursor", ["", "chain", "chain-x", "chain--1", "log-1 ", "both-1", "chain-" + "9" * 30])
async def test_a_bad_cursor_is_refused(db: Database, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        await Auditing(db).verify(ROOT, cursor=cursor)


@pytest.mark.parametrize("anchor", ["", "5", "5:abc", "0:" + "0" * 64, "x:" + "0" * 64])
async def test_a_bad_anchor_is_refused(db: Database, anchor: str) -> None:
    with pytest.raises(InvalidInput):
        await Auditing(db).verify(ROOT, anchor=anchor)


async def test_an_export_goes_on_after_the_last_entry_of_the_one_before(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cronsvc.services.auditing.EXPORT_BATCH", 3)
    ids = [await add(db, n) for n in range(10)]
    await seal_audit(db)
    unsealed = await add(db, "unsealed")
    auditing, found = Auditing(db), list[int]()
    while True:
        more = await exported(db, found[-1] if found else None, limit=4)
        assert len(more) <= 4
        found += more
        if not more:
            break
    assert found == ids
    with pytest.raises(InvalidInput, match="not sealed yet"):
        await auditing.export(ROOT, Wanted(), after_id=unsealed)


async def exported(db: Database, after: int | None, limit: int = 100) -> list[int]:
    batches = await Auditing(db).export(ROOT, Wanted(entity="thing"), after_id=after, limit=limit)
    return [entry.id async for batch in batches for entry in batch]


async def test_who_exports_what_is_new_misses_no_entry_that_is_committed_late(db: Database, database_url: str) -> None:
    """The earlier entry, by id and by instant, is seen after the later one has been exported."""
    async with await psycopg.AsyncConnection.connect(database_url) as slow:
        row = await (await slow.execute(ADD.format("slow").encode())).fetchone()
        assert row is not None
        quick = await add(db, "quick")
        await seal_audit(db)
        assert await exported(db, None) == [quick]
        await slow.commit()
    assert row[0] < quick
    await seal_audit(db)
    assert await exported(db, quick) == [row[0]]
    assert await exported(db, row[0]) == []


async def test_an_entry_that_waits_although_it_is_sealed_holds_up_nobody(db: Database, sealed: list[int]) -> None:
    await fetch(db, "INSERT INTO audit_unsealed (audit_id) VALUES (%s), (%s) RETURNING 1", sealed[1], sealed[3])
    last = await add(db, "next")
    assert await seal_audit(db) == 1
    assert await one(db, "SELECT audit_id FROM audit_chain WHERE place = 6") == (last,)
    assert await one(db, "SELECT count(*) FROM audit_unsealed") == (0,)
    assert (await verdict(db)).intact


async def test_an_id_that_is_lost_does_not_hide_a_break_in_the_chain(
    db: Database, database_url: str, sealed: list[int]
) -> None:
    await fetch(db, "INSERT INTO audit_unsealed (audit_id) VALUES (0) RETURNING 1")
    assert (await verdict(db)).broken == Break(None, 0, "deleted")
    async with past_the_triggers(database_url) as conn:
        await conn.execute("UPDATE audit_log SET actor = 'nobody' WHERE id = %s", (sealed[2],))
    for batch in (1, 100):
        assert (await verdict(db, batch=batch)).broken == Break(3, sealed[2], "changed")


@pytest.mark.parametrize("cut", [0, 2])
async def test_an_end_that_is_cut_off_without_an_anchor_leaves_ids_that_nobody_has(
    db: Database, database_url: str, sealed: list[int], cut: int
) -> None:
    """Also where everything is gone. That is no proof, for a change that is taken back leaves one as well."""
    assert (await verdict(db)).unused_ids == 0
    async with past_the_triggers(database_url) as conn:
        await conn.execute("DELETE FROM audit_chain WHERE place > %s", (cut,))
        await conn.execute("DELETE FROM audit_log WHERE id NOT IN (SELECT audit_id FROM audit_chain)")
    found = await verdict(db)
    assert found.intact and found.unused_ids == (sealed[-1] if cut == 0 else sealed[-1] - sealed[cut - 1])


async def test_what_waits_is_counted_with_its_age(db: Database, sealed: list[int]) -> None:
    assert await Auditing(db).backlog() == (0, 0.0)
    for n in range(3):
        await add(db, n)
    await fetch(db, "UPDATE audit_unsealed SET added_at = added_at - interval '1 hour' RETURNING 1")
    waiting, seconds = await Auditing(db).backlog()
    assert waiting == 3 and 3600 <= seconds < 3700
