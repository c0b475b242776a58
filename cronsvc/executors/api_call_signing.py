"""`signing`: Standard Webhooks, so that a target can tell our calls from anybody else's.

    {"secret": "{{secret:hook}}"}  or, while one replaces another,  {"secret": ["{{secret:new}}", "{{secret:old}}"]}

A secret is `whsec_` and 24 to 64 bytes in base64. Sent are `webhook-id`, the execution's Idempotency-Key and the same
for every attempt; `webhook-timestamp`, when the attempt was made, by this host's clock; and `webhook-signature`, for
each secret `v1,` and the HMAC-SHA256 of `id.timestamp.body` over the bytes that are sent.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from cronsvc.domain.secret_references import REFERENCE
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.config_faults import read_part

PREFIX = "whsec_"
SHORTEST_BYTES, LONGEST_BYTES = 24, 64
MOST_SECRETS = 5
WORDS = "a secret such as {{secret:name}}, or a list of them"


class SigningConfig(BaseModel):
    """The `signing` of an API_CALL job."""

    model_config = ConfigDict(strict=True, extra="forbid")

    secret: str | list[str] = Field(description=WORDS)


def read_signing(value: object, path: str, *, is_filled: bool) -> tuple[bytes, ...]:
    """The keys to sign with; before secrets are put in, none. InvalidInput names everything that is wrong."""
    read = read_part(SigningConfig, value, path=path, kind="signing")
    secrets = [read.secret] if isinstance(read.secret, str) else read.secret
    field = f"{path}.secret"
    if not 1 <= len(secrets) <= MOST_SECRETS:
        raise InvalidInput.of(field, f"must be 1 to {MOST_SECRETS} secrets")
    if not is_filled:
        if not all(REFERENCE.fullmatch(each) for each in secrets):
            raise InvalidInput([FieldError(field, f"must be {WORDS}; jobs can be read")])
        return ()
    keys = [_key(each) for each in secrets]
    if None in keys:
        words = f"holds no signing secret: {PREFIX} and {SHORTEST_BYTES} to {LONGEST_BYTES} bytes in base64"
        raise InvalidInput.of(field, words)
    return tuple(key for key in keys if key is not None)


def signature_headers(keys: Sequence[bytes], *, idempotency_key: str, at: int, body: bytes) -> list[tuple[str, str]]:
    """The three headers; `at` in whole seconds since 1970."""
    content = f"{idempotency_key}.{at}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys]
    return [
        ("webhook-id", idempotency_key),
        ("webhook-timestamp", str(at)),
        ("webhook-signature", " ".join(f"v1,{each}" for each in signatures)),
    ]


def _key(secret: str) -> bytes | None:
    text = secret.strip()
    if not text.startswith(PREFIX):
        return None
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if SHORTEST_BYTES <= len(key) <= LONGEST_BYTES else None
