"""Callback tokens: what is written is read, and nothing else passes for one."""

import base64
import hashlib
import hmac
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cronsvc.domain.callback_token import PREFIX, CallbackGrant, read, write

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
GRANT = CallbackGrant(
    key_id=1,
    execution_id=4711,
    job_id=12,
    scheduled_time=datetime(2026, 3, 29, 2, 30, 0, 123_456, tzinfo=UTC),
    claim_no=3,
    expires=1_900_000_000,
)
TOKEN = write(GRANT, KEY)
FIELDS = ">BIQQqIQ"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def passes(token: str) -> bool:
    unverified = read(token)
    return unverified is not None and unverified.is_signed_with(KEY)


def raw(token: str) -> bytes:
    return base64.urlsafe_b64decode(token.removeprefix(PREFIX) + "==")


def spelled(fields: bytes, signature: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(fields + signature).decode().rstrip("=")


def letters(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_what_is_written_is_read() -> None:
    unverified = read(TOKEN)
    assert unverified is not None and unverified.grant == GRANT
    assert unverified.is_signed_with(KEY) and not unverified.is_signed_with(OTHER_KEY)
    assert len(TOKEN) == 102


def test_an_instant_is_the_same_in_every_zone_and_before_1970() -> None:
    kolkata = GRANT.scheduled_time.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert write(replace(GRANT, scheduled_time=kolkata), KEY) == TOKEN
    early = replace(GRANT, scheduled_time=datetime(1907, 5, 1, tzinfo=UTC), claim_no=2**31 - 1, job_id=2**63 - 1)
    unverified = read(write(early, KEY))
    assert unverified is not None and unverified.grant == early


def forgeries() -> Iterator[tuple[str, str]]:
    """Tokens that somebody who holds a good one, but no key, could make."""
    signature, fields = raw(TOKEN)[-32:], raw(TOKEN)[:-32]
    for name, changed in {
        "another execution": replace(GRANT, execution_id=4712),
        "another job": replace(GRANT, job_id=13),
        "another instant": replace(GRANT, scheduled_time=GRANT.scheduled_time + timedelta(microseconds=1)),
        "another claim": replace(GRANT, claim_no=4),
        "a longer life": replace(GRANT, expires=GRANT.expires + 1),
        "another key id": replace(GRANT, key_id=2),
    }.items():
        others = write(changed, OTHER_KEY)
        yield f"{name}, signed with another key", others
        yield f"{name}, with the old signature", spelled(raw(others)[:-32], signature)
    for name, digest in {"sha1": hashlib.sha1, "sha512": hashlib.sha512, "md5": hashlib.md5}.items():
        made = hmac.new(KEY, b"cronsvc callback token\x00" + fields, digest).digest()
        yield f"{name} cut or filled to 32 bytes", spelled(fields, made[:32].ljust(32, b"\0"))
        yield f"{name} at its own length", spelled(fields, made)
    yield "the right key without the domain", spelled(fields, hmac.digest(KEY, fields, hashlib.sha256))
    yield "a plain hash", spelled(fields, hashlib.sha256(fields).digest())
    yield "no signature", spelled(fields, b"")
    yield "zeros for a signature", spelled(fields, bytes(32))
    version = struct.pack(FIELDS, 2, *struct.unpack(FIELDS, fields)[1:])
    signed = hmac.digest(KEY, b"cronsvc callback token\x00" + version, hashlib.sha256)
    yield "another version, well signed", spelled(version, signed)
    none = f"{letters({'alg': 'none', 'typ': 'JWT'})}.{letters({'sub': '4711'})}."
    yield "a JWT without a signature", none
    yield "the same behind our prefix", PREFIX + none
    yield "nothing", ""
    yield "the prefix alone", PREFIX
    yield "without the prefix", TOKEN.removeprefix(PREFIX)
    yield "in capitals", TOKEN.upper()
    yield "with padding", TOKEN + "=="
    yield "with a newline", TOKEN + "\n"
    yield "with a space before it", " " + TOKEN
    yield "twice", TOKEN + TOKEN
    yield "letters that look alike", TOKEN[:-1] + "\N{CYRILLIC SMALL LETTER A}"


@pytest.mark.parametrize(("name", "token"), [pytest.param(*each, id=each[0]) for each in forgeries()])
def test_forgeries_do_not_pass(name: str, token: str) -> None:
    assert not passes(token), name


def test_no_changed_bit_and_no_cut_passes() -> None:
    whole = raw(TOKEN)
    for place in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        assert not passes(spelled(bytes(flipped), b""))
    for length in range(len(TOKEN)):
        assert not passes(TOKEN[:length])


def test_a_token_has_one_spelling() -> None:
    good = [letter for letter in LETTERS if passes(TOKEN[:-1] + letter)]
    assert good == [TOKEN[-1]]


def test_an_instant_beyond_the_calendar_is_no_token() -> None:
    fields = struct.pack(FIELDS, 1, 1, 1, 1, 2**63 - 1, 1, 1)
    assert read(spelled(fields, hmac.digest(KEY, b"cronsvc callback token\x00" + fields, hashlib.sha256))) is None
