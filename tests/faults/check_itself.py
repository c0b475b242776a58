"""Invariants on what the service says of itself: its audit chain, its self check, its fence.

None of the faults of a run loses an entry, a row or a database, so none of the three may raise an alarm; and the chain
is computed anew here, so that a service that only claims to be well is seen.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from tests.faults.history import History

Findings = Iterator[tuple[str, str]]


def chained(history: History) -> Findings:
    """Every entry has its place, each hash is the hash of the one before and of its entry, and the API says so too."""
    broken = _break(history)
    if broken:
        yield "I17", broken
    said = history.verdict
    if not said:
        return
    if not said.get("intact"):
        yield "I17", f"the API calls its audit log broken: {said.get('broken')}"
    elif broken:
        yield "I17", "the API calls an audit log intact that is not"
    elif said["checked"] < len(history.audit_ids):
        yield "I17", f"the API looked at {said['checked']} of {len(history.audit_ids)} entries"


def _break(history: History) -> str:
    """The first place where the chain is not what it should be; empty when it is whole."""
    before = bytes(32)
    for place, link in enumerate(history.chain, start=1):
        if link["place"] != place:
            return f"the chain has no place {place}"
        if link["text"] is None:
            return f"entry {link['entry']} is gone from the audit log"
        before = hashlib.sha256(before + link["text"].encode()).digest()
        if before.hex() != link["hash"]:
            return f"entry {link['entry']} is not what was sealed in place {place}"
    places = [link["entry"] for link in history.chain]
    if len(set(places)) != len(places):
        return "an entry has two places in the chain"
    without = set(history.audit_ids) - set(places)
    return f"{len(without)} entries have no place in the chain, the first is {min(without)}" if without else ""


def well(history: History) -> Findings:
    """No round of the self check was red: every fault heals long before two of its rounds could see it."""
    for row in history.self_checks:
        yield "I1", f"the self check of {row['who']} was red: {row['words']}"


def unfenced(history: History) -> Findings:
    """No restore, no fence: a service that takes an ordinary fault for one stops for good."""
    for row in history.fences:
        yield "I15", f"the service fenced itself and waits for somebody: {row['words']}"


CHECKS: Sequence[Callable[[History], Findings]] = (chained, well, unfenced)
