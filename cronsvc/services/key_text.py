"""How a key reads: `csk_<id>_<secret><checksum>`. The checksum refuses typing errors before any query."""

import hashlib
import re
import secrets
import string
import zlib

from cronsvc.errors import Unauthenticated

PREFIX = "csk_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(r"csk_([0-9A-Za-z]{8})_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", re.ASCII)


def new_key() -> str:
    """A key that nobody has: 256 bits of chance, and its checksum."""
    head = f"{PREFIX}{_random(8)}_{_random(43)}"
    return head + _checksum(head)


def key_id_of(key: str) -> str:
    """The public id inside a key; raises Unauthenticated, without a query, for what cannot be a key."""
    form = _KEY.fullmatch(key)
    if form is None or _checksum(key[:-6]) != key[-6:]:
        raise Unauthenticated(
            "this is not an API key, or one with a typing error: a key is csk_ and 58 more characters"
        )
    return form[1]


def digest(text: str) -> bytes:
    """SHA-256, all that is stored of a secret."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(head: str) -> str:
    """CRC-32 in six digits of base 62: it finds typing errors, it protects nothing."""
    number, digits = zlib.crc32(head.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
