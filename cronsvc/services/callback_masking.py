"""Secrets taken out of what targets say in their calls, as workers take them out of what targets answer.

The API knows from the row which secrets the attempt was given: those that the pinned definition and the params name. Is
one of them not to be had as the attempt had it (deleted, changed since, no key here opens it), nobody can tell what to
mask, and none of the words are kept. The callback token is masked too. What a worker got for a secret from a token
server it alone knows.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from cronsvc.domain.callback_token import LIKENESS
from cronsvc.domain.masking import Masks
from cronsvc.domain.secret_references import names
from cronsvc.errors import InvalidInput
from cronsvc.executors.base import Executor
from cronsvc.executors.options import derived, merged
from cronsvc.services.sealing import Keyring, Unreadable
from cronsvc.store import secrets
from cronsvc.store.callbacks import Calling
from cronsvc.store.pool import Conn
from cronsvc.store.rows import definition_from_json

UNREADABLE = "[unreadable secret]"


class Masking(Protocol):
    """Makes words fit to be kept."""

    def text(self, text: str) -> str:
        """The text without secrets."""
        ...

    def value(self, value: Any) -> Any:
        """The JSON value without secrets."""
        ...


class Nothing:
    """Keeps no words."""

    def text(self, text: str) -> str:
        return UNREADABLE if text else text

    def value(self, value: Any) -> Any:
        return None if value is None else UNREADABLE


class CallbackMasking:
    """What one API process needs to mask. `keyring` None: it can open no secret."""

    def __init__(self, executors: Mapping[str, Executor], keyring: Keyring | None) -> None:
        self._executors = executors
        self._keyring = keyring

    async def of(self, conn: Conn, found: Calling, token: str) -> Masking:
        """How to mask what is said of this execution by the bearer of this token, empty for a person."""
        masks = Masks()
        masks.hide_like(LIKENESS)
        masks.hide(token)
        try:
            definition = definition_from_json(found.definition or {})
        except (ValueError, KeyError):
            return Nothing()  # gone, or never readable: nobody can tell what it named
        payload, params = definition.task_payload, found.claimed.params
        wanted = names(payload.config) | names(params)
        if not wanted:
            return masks
        values = await self._values(conn, found, definition.namespace, wanted)
        if values is None:
            return Nothing()
        executor = self._executors.get(payload.type)
        try:
            others = derived(executor, merged(executor, payload.config, params), values)
        except InvalidInput:
            return Nothing()
        for text in (*values.values(), *others):
            masks.hide(text)
        return masks

    async def _values(
        self, conn: Conn, found: Calling, namespace: str, wanted: frozenset[str]
    ) -> dict[str, str] | None:
        """These secrets as the attempt had them; None when one is not to be had."""
        if self._keyring is None:
            return None
        rows = await secrets.sealed(conn, sorted((namespace, name) for name in wanted))
        values = {}
        for name in wanted:
            row = rows.get((namespace, name))
            if row is None or row.updated_at >= found.claimed.start_time:
                return None
            try:
                values[name] = self._keyring.unseal(row.ciphertext, namespace=namespace, name=name)
            except Unreadable:
                return None
        return values
