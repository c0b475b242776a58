"""Encrypting secrets at rest: Fernet (AES-128-CBC and HMAC-SHA256), with as many keys as a rotation needs.

The first key encrypts, all of them decrypt. Namespace and name are inside what is encrypted, so that a ciphertext which
is copied to another row does not open there. Keys are never in the database, and no message repeats one.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class Unreadable(Exception):
    """No key opens this ciphertext, or it belongs to another row."""


class Keyring:
    """The keys of one process."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self.key_id = hashlib.sha256(b"cronsvc secret key " + keys[0].encode()).hexdigest()[:16]

    @classmethod
    def of(cls, keys: Sequence[str]) -> Self | None:
        """The keyring of these keys; None when there are none."""
        return cls(keys) if keys else None

    def seal(self, value: str, *, namespace: str, name: str) -> bytes:
        """The ciphertext for this row; another one every time."""
        return self._fernet.encrypt(json.dumps([namespace, name, value]).encode())

    def unseal(self, ciphertext: bytes, *, namespace: str, name: str) -> str:
        """The value of this row; raises Unreadable."""
        try:
            where = json.loads(self._fernet.decrypt(bytes(ciphertext)))
        except InvalidToken:
            raise Unreadable("none of the keys here opens it") from None
        if not isinstance(where, list) or where[:2] != [namespace, name]:
            raise Unreadable("its ciphertext belongs to another secret")
        return str(where[2])


def new_key() -> str:
    """A fresh key, as CRONSVC_SECRET_KEYS takes it."""
    return Fernet.generate_key().decode()
