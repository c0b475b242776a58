"""Crashes in what may be asked for twice, and in the change of the key that encrypts secrets.

A request with an Idempotency-Key whose process died is carried out once, whenever it died and however often it is sent
again. A rotation that died leaves every secret readable, and the next one finishes it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cronsvc.services.callers import Caller, Role
from cronsvc.services.sealing import Keyring, new_key
from cronsvc.services.secrets import Secrets
from cronsvc.store.pool import Database
from tests.faults.crash_requests import NEW_JOB, api, ask, audited, expect
from tests.faults.stage import KILLED, QUICK, Stage, Theatre

JOBS = "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM job_revisions)"
NONE, ONE = [(0, 0)], [(1, 1)]
KEY = {"Idempotency-Key": "once"}

REPLAYS: Mapping[str, str] = {
    "before_commit": "a request with a key, before COMMIT",
    "committed": "a request with a key, after COMMIT",
    "kept": "a request with a key, its answer kept and not sent",
}
POINTS: Mapping[str, str] = {"before_commit": "api.after_mutate", "committed": "api.committed", "kept": "replay.kept"}

# What the same request is answered at once, and when a minute has passed.
AGAIN: Mapping[str, tuple[int, int]] = {"before_commit": (409, 201), "committed": (409, 409), "kept": (201, 201)}


def play_replay(house: Theatre, *, moment: str) -> float:
    """Kill the API in a request that has a key, and send it again, at once and later: it happens once."""
    with house.stage("replay", **QUICK) as stage:
        before, point = audited(stage), POINTS[moment]
        victim, port = api(stage, [f"{point}=kill9"])
        heir, second = api(stage, [])
        answer = ask(stage, victim, port, "POST", "/api/v1/jobs", NEW_JOB, KEY)
        assert answer is None, f"the API was not killed and answered {answer}"
        assert victim.ended() == KILLED, victim.tail()
        died = time.monotonic()
        assert stage.bites() == [point]
        happened = moment != "before_commit"
        expect(stage, JOBS, ONE if happened else NONE)
        at_once, later = AGAIN[moment]
        assert ask(stage, heir, second, "POST", "/api/v1/jobs", NEW_JOB, KEY) == at_once
        expect(stage, JOBS, ONE if happened else NONE)
        stage.execute("UPDATE request_keys SET created_at = created_at - interval '61 seconds'")
        for _ in range(2):
            assert ask(stage, heir, second, "POST", "/api/v1/jobs", NEW_JOB, KEY) == later
        expect(stage, JOBS, ONE)
        assert audited(stage) - before == 1
        seconds = time.monotonic() - died
        stage.close()
        return seconds


def play_rotation(house: Theatre, *, committed: bool) -> float:
    """Kill the command that changes the key, at its commit; then run it again."""
    point = f"rotation.{'committed' if committed else 'before_commit'}"
    old, new = new_key(), new_key()
    values = {f"token{number}": f"the value of number {number}" for number in range(3)}
    with house.stage("rotation", CRONSVC_SECRET_KEYS=f"{new},{old}") as stage:
        asyncio.run(_fill(stage, [old], values))
        victim = stage.start("secrets", "rotate", fail_points=[f"{point}=kill9"])
        assert victim.ended() == KILLED, victim.tail()
        died = time.monotonic()
        assert stage.bites() == [point]
        kept = Keyring([new] if committed else [old]).key_id
        expect(stage, "SELECT DISTINCT key_id FROM secrets", [(kept,)])
        assert asyncio.run(_read(stage, [new, old], values)) == values
        heir = stage.start("secrets", "rotate")
        assert heir.ended() == 0, heir.tail()
        expect(stage, "SELECT count(*), min(version), max(version) FROM secrets", [(3, 1, 1)])
        assert asyncio.run(_read(stage, [new], values)) == values
        return time.monotonic() - died


async def _fill(stage: Stage, keys: Sequence[str], values: Mapping[str, str]) -> None:
    db = await Database.open(stage.database_url, application_name="faults", max_size=1)
    try:
        for name, value in values.items():
            await Secrets(db, Keyring(keys)).set("default", name, value, Caller(actor="faults", role=Role.ADMIN))
    finally:
        await db.close()


async def _read(stage: Stage, keys: Sequence[str], values: Mapping[str, str]) -> dict[str, Any]:
    """What whoever has these keys reads."""
    keyring = Keyring(keys)
    rows = stage.query("SELECT name, ciphertext FROM secrets WHERE name = ANY (%s)", list(values))
    return {name: keyring.unseal(bytes(ciphertext), namespace="default", name=name) for name, ciphertext in rows}
