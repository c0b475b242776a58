"""Secrets as people keep them: set, list by name, delete, encrypt anew. Nothing here ever returns a value.

Promises: a change is one transaction, audited with its caller and without the value. A caller with namespaces neither
sees nor touches secrets of others. From the commit on the next attempt of a job has the new value.
"""

import re

from cronsvc.domain.masking import SHORTEST
from cronsvc.domain.secret_references import NAME, NAME_RULE
from cronsvc.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound
from cronsvc.services.callers import Caller
from cronsvc.services.paging import NameSort, Page, check_limit, names_cursor, page_of, read_names_cursor
from cronsvc.services.sealing import Keyring, Unreadable
from cronsvc.store import secrets
from cronsvc.store.pool import Database
from cronsvc.store.secrets import Secret

LONGEST = 65_536  # characters of a value
ROTATION_BATCH = 100
NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)

OFF = "secrets are off here: the operator sets CRONSVC_SECRET_KEYS, the same for the API and all workers"


class Secrets:
    """The secrets of one database. `keyring` None: this process may name and delete them, not write them."""

    def __init__(self, db: Database, keyring: Keyring | None) -> None:
        self._db = db
        self._keyring = keyring

    async def set(self, namespace: str, name: str, value: str, caller: Caller) -> Secret:
        """Give a secret a value, its first or a new one. InvalidInput says what is wrong, never with what."""
        keyring = self._required_keyring()
        _check(namespace, name, caller)
        if (fault := _value_fault(value)) is not None:
            raise InvalidInput.of("value", fault)
        ciphertext = keyring.seal(value, namespace=namespace, name=name)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            return await secrets.put(conn, namespace=namespace, name=name, ciphertext=ciphertext, key_id=keyring.key_id)

    async def list(
        self,
        caller: Caller,
        *,
        namespace: str | None = None,
        sort: NameSort = NameSort.NAME,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Secret]:
        """Secrets in order of namespace and name, or backwards; a namespace the caller may not see has none."""
        kind = "secrets" if sort is NameSort.NAME else "secrets -name"
        after = read_names_cursor(kind, cursor)
        wanted = caller.namespaces
        if namespace is not None:
            if NAMESPACE.fullmatch(namespace) is None:
                raise InvalidInput.of("namespace", NAME_RULE)
            wanted = (namespace,) if caller.sees(namespace) else ()
        async with self._db.statements() as conn:
            found = await secrets.page(
                conn,
                namespaces=wanted,
                after=after,
                descending=sort is NameSort.BACKWARDS,
                limit=check_limit(limit) + 1,
            )
        return page_of(found, limit, lambda each: names_cursor(kind, each.namespace, each.name))

    async def delete(self, namespace: str, name: str, caller: Caller) -> None:
        """Take a secret away. Jobs that still name it fail with `secret_unknown`."""
        if NAMESPACE.fullmatch(namespace) is None or NAME.fullmatch(name) is None or not caller.sees(namespace):
            raise _unknown(namespace, name)
        async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
            if not await secrets.delete(conn, namespace=namespace, name=name):
                raise _unknown(namespace, name)

    async def rotate(self, caller: Caller, *, batch: int = ROTATION_BATCH) -> tuple[int, tuple[str, ...]]:
        """Encrypt with the first key whatever another one has encrypted: how many, and those that no key here opens.

        A transaction a batch; whoever is interrupted calls it again.
        """
        keyring = self._required_keyring()
        if caller.namespaces is not None:
            raise Forbidden("keys serve every namespace: only a caller that is bound to none may rotate them")
        done, unreadable = 0, []
        after: tuple[str, str] | None = None
        while True:
            async with self._db.transaction(actor=caller.actor, source=caller.source) as conn:
                held = await secrets.hold_others(conn, key_id=keyring.key_id, after=after, batch=batch)
                resealed = []
                for each in held:
                    place = {"namespace": each.namespace, "name": each.name}
                    try:
                        resealed.append((each, keyring.seal(keyring.unseal(each.ciphertext, **place), **place)))
                    except Unreadable:
                        unreadable.append(f"{each.namespace}/{each.name}")
                done += await secrets.reseal(conn, resealed, key_id=keyring.key_id)
            if len(held) < batch:
                return done, tuple(unreadable)
            after = (held[-1].namespace, held[-1].name)

    def _required_keyring(self) -> Keyring:
        if self._keyring is None:
            raise Conflict(OFF)
        return self._keyring


def _check(namespace: str, name: str, caller: Caller) -> None:
    bad = [
        FieldError(field, NAME_RULE)
        for field, text, pattern in (("namespace", namespace, NAMESPACE), ("name", name, NAME))
        if pattern.fullmatch(text) is None
    ]
    if bad:
        raise InvalidInput(bad)
    if not caller.sees(namespace):
        allowed = ", ".join(caller.namespaces or ()) or "none"
        raise Forbidden(f"you may not write secrets of the namespace {namespace!r}; those you may: {allowed}")


def _value_fault(value: str) -> str | None:
    if not SHORTEST <= len(value) <= LONGEST:
        return f"has {len(value)} characters; {SHORTEST} to {LONGEST} are possible"
    if len(value.strip()) < SHORTEST:
        return f"is blank: {SHORTEST} characters that can be seen are needed, to be found in what targets answer"
    if "\0" in value or any("\ud800" <= each <= "\udfff" for each in value):
        return "holds a NUL or half a surrogate pair"
    return None


def _unknown(namespace: str, name: str) -> NotFound:
    return NotFound(f"there is no secret {name[:63]!r} in the namespace {namespace[:63]!r}")
