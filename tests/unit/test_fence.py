"""What a database wrote down, what it is and what is remembered, and what follows from that: the table of the fence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cronsvc.domain.fence import FenceReason, Finding, Identity, address_of, judge

START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
HERE = "db.internal:5432/cron"
SOCKET = "socket:5432/cron in /srv/cronsvc/postgres/pg17"
COPIED_SOCKET = "socket:5432/cron in /home/ann/copy/postgres/pg17"

OPEN = Identity(
    lineage="a",
    generation=1000,
    database_oid=5,
    database_name="cron",
    system_identifier="7",
    timeline=1,
    server_start=START,
    fenced_at=None,
    reason=None,
    detail=None,
    released_at=None,
    released_by=None,
    release_mode=None,
    present_oid=5,
    present_name="cron",
    present_identifier="7",
    present_timeline=1,
    present_start=START,
    addresses={HERE: 100, "bouncer:6432/cron": 90},
    present_address=HERE,
)
AGAIN = replace(OPEN, present_start=START + timedelta(hours=1), silent_seconds=300.0)
ELSEWHERE = replace(AGAIN, present_address="clone.internal:5432/cron")
LOCAL = replace(AGAIN, addresses={SOCKET: 100}, present_address=SOCKET)
FORGOTTEN: dict[str, int] = {}
REMEMBERED = {"a": 1000}


@pytest.mark.parametrize(
    ("identity", "remembered", "finding", "reason"),
    [
        (OPEN, FORGOTTEN, Finding.OPEN, None),
        (replace(OPEN, present_address="new.internal:5432/cron"), FORGOTTEN, Finding.OPEN, None),
        (AGAIN, FORGOTTEN, Finding.STARTED_AGAIN, None),
        (replace(AGAIN, present_address="bouncer:6432/cron"), FORGOTTEN, Finding.STARTED_AGAIN, None),
        (ELSEWHERE, FORGOTTEN, Finding.OTHER, FenceReason.OTHER_ADDRESS),
        (ELSEWHERE, REMEMBERED, Finding.STARTED_AGAIN, None),
        (replace(ELSEWHERE, addresses={}), FORGOTTEN, Finding.STARTED_AGAIN, None),
        (replace(ELSEWHERE, present_address=None), FORGOTTEN, Finding.STARTED_AGAIN, None),
        (replace(ELSEWHERE, present_timeline=2), FORGOTTEN, Finding.OTHER, FenceReason.WENT_BACK),
        (LOCAL, FORGOTTEN, Finding.STARTED_AGAIN, None),
        (replace(LOCAL, present_address=COPIED_SOCKET), FORGOTTEN, Finding.OTHER, FenceReason.OTHER_ADDRESS),
        # Its Redis was copied as well, and remembers what the copy says of itself.
        (replace(LOCAL, present_address=COPIED_SOCKET), REMEMBERED, Finding.OTHER, FenceReason.OTHER_ADDRESS),
        (replace(LOCAL, present_address=HERE), REMEMBERED, Finding.STARTED_AGAIN, None),
        (replace(LOCAL, present_address=SOCKET.replace("5432", "6432")), REMEMBERED, Finding.STARTED_AGAIN, None),
        (replace(LOCAL, present_address=COPIED_SOCKET, timeline=2), REMEMBERED, Finding.STARTED_AGAIN, None),
        (replace(LOCAL, present_address=COPIED_SOCKET, addresses={HERE: 1}), REMEMBERED, Finding.STARTED_AGAIN, None),
    ],
)
def test_where_it_is_reached(
    identity: Identity, remembered: dict[str, int], finding: Finding, reason: FenceReason | None
) -> None:
    judged = judge(identity, remembered, asked_redis=True)
    assert (judged.finding, judged.reason) == (finding, reason)


def test_both_addresses_are_named() -> None:
    detail = judge(ELSEWHERE, FORGOTTEN, asked_redis=True).detail
    assert detail is not None and HERE in detail and "clone.internal:5432/cron" in detail


def test_an_unknown_address_waits_for_redis() -> None:
    assert judge(ELSEWHERE, FORGOTTEN, asked_redis=False).finding is Finding.UNSURE


@pytest.mark.parametrize(
    ("identity", "noted", "ours", "finding"),
    [
        (OPEN, None, None, Finding.OPEN),
        (OPEN, "production", None, Finding.OPEN),
        (OPEN, None, "production", Finding.OPEN),
        (OPEN, "production", "production", Finding.OPEN),
        (OPEN, "production", "staging", Finding.NOT_OURS),
        (AGAIN, "production", "production", Finding.STARTED_AGAIN),
        (AGAIN, "production", None, Finding.STARTED_AGAIN),
        (AGAIN, None, "staging", Finding.STARTED_AGAIN),
        (AGAIN, "production", "staging", Finding.OTHER),
        (replace(OPEN, present_oid=6), "production", "staging", Finding.OTHER),
    ],
)
def test_what_it_is_called(identity: Identity, noted: str | None, ours: str | None, finding: Finding) -> None:
    found = replace(identity, installation=noted)
    assert judge(found, REMEMBERED, asked_redis=True, installation=ours).finding is finding
    assert judge(found, FORGOTTEN, asked_redis=True, installation=ours).finding is finding


@pytest.mark.parametrize(
    ("host", "folder", "address"),
    [
        ("DB.Internal.", "/data", "db.internal:5432/cron"),
        ("10.0.0.7", None, "10.0.0.7:5432/cron"),
        ("localhost", "/data", "localhost:5432/cron in /data"),
        ("127.0.0.1", None, "localhost:5432/cron"),
        ("::1", "/data", "localhost:5432/cron in /data"),
        ("/run/postgresql", None, "socket:5432/cron in /run/postgresql"),
        ("/tmp/cronsvc-x1y2", "/srv/pg17", "socket:5432/cron in /srv/pg17"),
    ],
)
def test_an_address_says_which_server_and_not_who_asks(host: str, folder: str | None, address: str) -> None:
    assert address_of(host=host, port=5432, database="cron", folder=folder) == address
