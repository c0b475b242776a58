"""Faults of the wires: reset, swallowed, one way, slow, and an answer to a commit that never comes."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager

from tests.faults.fault import Bite, Body, Field, Steps

MODES = ("refuse", "blackhole", "one_way")


def wire(role: str, server: str, mode: str, *, all_of_role: bool = True) -> Body:
    """The wires from a role to a server, or one of them, in this mode; the sink has one wire for all."""

    @contextmanager
    def body(field: Field, bite: Bite) -> Steps:
        names = ["sink"] if server == "sink" else field.ground.wires.named(role, f">{server}")
        if not all_of_role:
            names = [field.random.choice(names)]
        with _counted(field, bite, names, mode):
            yield

    return body


def slow(*, latency: float, rate: float) -> Body:
    """Every wire to Postgres and Redis."""

    @contextmanager
    def body(field: Field, bite: Bite) -> Steps:
        names = field.ground.wires.named(">")
        with _counted(field, bite, names, "slow", latency=latency, rate=rate):
            yield

    return body


@contextmanager
def _counted(
    field: Field, bite: Bite, names: Sequence[str], mode: str, *, latency: float = 0.0, rate: float = 0.0
) -> Steps:
    before = _hurt(field, names)
    bite.start = time.time()
    field.ground.wires.set(names, mode, latency=latency, rate=rate)
    try:
        yield
    finally:
        field.ground.wires.set(names, "pass")
        bite.heal = time.time()
    hurt = _hurt(field, names) - before
    proof = {"refuse": "resets", "slow": "delayed"}.get(mode, "dropped")
    bite.prove(hurt[proof] > 0, edges=list(names), mode=mode, **hurt)


def _hurt(field: Field, names: Sequence[str]) -> Counter[str]:
    total: Counter[str] = Counter()
    for name in names:
        total.update(field.ground.wires.edges[name].hurt)
    return total


@contextmanager
def deaf_commit(field: Field, bite: Bite) -> Steps:
    """On each wire to Postgres the next write takes effect and its answer is lost, twice over."""
    names = field.ground.wires.named(">pg")
    before = _hurt(field, names)
    bite.start = time.time()
    field.ground.wires.set(names, "deaf_commit")
    job = field.jobs["F"][0]
    for _ in range(2):  # else nobody may write through the API just now
        field.user.ask(job, "description", None, "PATCH", f"/jobs/{job}", {"description": "{op}"})
    time.sleep(1.5)
    field.ground.wires.set(names, "deaf_commit")
    try:
        yield
    finally:
        field.ground.wires.set(names, "pass")
        bite.heal = time.time()
    hurt = _hurt(field, names) - before
    deaf = [name for name in names if field.ground.wires.edges[name].deafened]
    roles = {name.split("-")[0] for name in deaf}
    bite.prove(roles == {"scheduler", "worker", "api"}, deafened=hurt["deafened"], edges=deaf)
