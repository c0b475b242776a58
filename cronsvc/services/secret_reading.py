"""Secrets for attempts: read by the worker when an executor asks, masked in all that is kept of the attempt.

Nothing is remembered from one attempt to the next, so a new value holds at once, and a deleted secret is gone. Attempts
that ask at the same time share a query.
"""

import traceback
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cronsvc.domain.execution import ErrorDetail, Outcome
from cronsvc.domain.masking import Masks
from cronsvc.errors import Unavailable
from cronsvc.executors.base import Reporter, SecretFault
from cronsvc.services.batching import MicroBatch
from cronsvc.services.sealing import Keyring, Unreadable
from cronsvc.store import secrets
from cronsvc.store.pool import Database
from cronsvc.store.secrets import Sealed

Key = tuple[str, str]


class SecretReader:
    """Reads secrets for one worker process. `keyring` None: there are no keys here, and each attempt is told so."""

    def __init__(self, db: Database, keyring: Keyring | None) -> None:
        self._db = db
        self._keyring = keyring
        self._batch: MicroBatch[Key, Sealed | None] = MicroBatch(self._fetch)

    def attempt(self, namespace: str) -> "AttemptSecrets":
        """What one attempt of a job of this namespace may read."""
        return AttemptSecrets(self, namespace)

    async def value(self, namespace: str, name: str) -> str:
        """One secret in plain text; raises SecretFault."""
        if self._keyring is None:
            raise SecretFault("secret_unreadable", "this worker has no CRONSVC_SECRET_KEYS", retryable=True)
        try:
            row = await self._batch.submit((namespace, name))
        except Unavailable:
            raise SecretFault(
                "secret_unavailable", "secrets cannot be read: Postgres is away", retryable=True
            ) from None
        if row is None:
            words = f"there is no secret {name[:63]!r} in the namespace {namespace!r}"
            raise SecretFault("secret_unknown", words, retryable=False)
        try:
            return self._keyring.unseal(row.ciphertext, namespace=namespace, name=name)
        except Unreadable as error:
            raise SecretFault(
                "secret_unreadable", f"the secret {name!r} cannot be read: {error}", retryable=True
            ) from None

    async def _fetch(self, keys: Sequence[Key]) -> Sequence[Sealed | None]:
        wanted = sorted(set(keys))
        async with self._db.statements() as conn:
            found = await secrets.sealed(conn, wanted)
            if stale := [key for key in wanted if key in found and found[key].is_stale]:
                await secrets.used(conn, stale)
        return [found.get(key) for key in keys]


class AttemptSecrets:
    """What an executor gets as `context.secrets`; knows afterwards what has to be masked."""

    def __init__(self, reader: SecretReader, namespace: str) -> None:
        self._reader = reader
        self._namespace = namespace
        self._masks = Masks()

    async def values(self, names: Collection[str]) -> Mapping[str, str]:
        """These secrets in plain text; raises SecretFault."""
        found = {name: await self._reader.value(self._namespace, name) for name in sorted(names)}
        for value in found.values():
            self._masks.hide(value)
        return found

    def hide(self, text: str) -> None:
        """Mask this text as well."""
        self._masks.hide(text)

    def masked(self, outcome: Outcome) -> Outcome:
        """The outcome without secrets."""
        if not self._masks.any:
            return outcome
        error = outcome.error
        return replace(
            outcome,
            error=None if error is None else ErrorDetail(error.type, self._masks.text(error.message)),
            result=self._masks.value(outcome.result),
            excerpt=None if outcome.excerpt is None else self._masks.text(outcome.excerpt),
        )

    def traceback(self, error: BaseException) -> str:
        """How an exception came about, for the log."""
        return self._masks.text("".join(traceback.format_exception(error)))

    def reporting(self, reporter: Reporter) -> Reporter:
        """A reporter that passes on everything without secrets."""
        return _Masked(reporter, self._masks)


class _Masked:
    def __init__(self, reporter: Reporter, masks: Masks) -> None:
        self._reporter = reporter
        self._masks = masks

    def progress(self, percent: float, note: str | None) -> None:
        self._reporter.progress(percent, None if note is None else self._masks.text(note))

    def log(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        self._reporter.log(self._masks.text(message), level, self._masks.value(fields))

    def lost(self, count: int) -> None:
        self._reporter.lost(count)
