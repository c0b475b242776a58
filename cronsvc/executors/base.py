"""What a job type must provide, and what it is given.

An executor is one class behind one `cronsvc.executors` entry point. `parse` runs when a job is created and again in
the worker, so a definition written by SQL is checked too; `run` makes one attempt and answers with an Outcome. A worker
cancels `run` when the timeout passes, when it drains and when its lease is lost: clean up and re-raise.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, Self

from cronsvc.config import Settings
from cronsvc.config_values import Command
from cronsvc.domain.egress_list import EVERYTHING, NamespaceEgress
from cronsvc.domain.execution import Outcome
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.fan_out import FanOut


class NotInstalled(InvalidInput):
    """Raised by `parse`: the config names something (a handler, a database, a command) that this process lacks.

    Whoever defines a job is told so. A worker hands the ticket back, for one that has it, and burns no attempt.
    `elsewhere`: this process was given no such things at all, so it cannot judge and lets the definition pass.
    """

    def __init__(self, errors: Sequence[FieldError], *, elsewhere: bool = False) -> None:
        super().__init__(errors)
        self.elsewhere = elsewhere


class Reporter(Protocol):
    """Where an attempt says how it is getting on. Neither call waits or fails; both are capped."""

    def progress(self, percent: float, note: str | None) -> None:
        """Say how far it is, from 0 to 100; the note replaces the one before, None keeps it."""
        ...

    def log(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        """Add a line: `debug`, `info`, `warning` or `error`."""
        ...

    def lost(self, count: int) -> None:
        """Count lines that were dropped before they came here."""
        ...


class Silent:
    """A reporter that nobody listens to."""

    def progress(self, percent: float, note: str | None) -> None:
        return

    def log(self, message: str, level: str, fields: Mapping[str, Any]) -> None:
        return

    def lost(self, count: int) -> None:
        return


class SecretFault(Exception):
    """A secret that an attempt needs is not to be had. Its words repeat no value; nothing was begun for it.

    `type` becomes the error's type: `secret_unknown` (there is none of that name), `secret_unreadable` (this worker has
    no key that opens it), `secret_unavailable` (Postgres is away).
    """

    def __init__(self, type_: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.type = type_
        self.retryable = retryable


class Secrets(Protocol):
    """The secrets of the job's namespace, for one attempt.

    Ask before anything is begun. Whatever is handed out is masked in the outcome and in log lines; put a value into
    nothing that outlives the attempt.
    """

    async def values(self, names: Collection[str]) -> Mapping[str, str]:
        """These secrets in plain text; SecretFault when one is not to be had."""
        ...

    def hide(self, text: str) -> None:
        """Mask this text as well: what was made of a secret, such as a token it was exchanged for."""
        ...


class NoSecrets:
    """What an attempt gets that nobody has secrets for."""

    async def values(self, names: Collection[str]) -> Mapping[str, str]:
        if names:
            raise SecretFault("secret_unreadable", "no secrets are at hand here", retryable=True)
        return {}

    def hide(self, text: str) -> None:
        return


class CallbackTokens(Protocol):
    """Makes what a target needs to end this attempt itself, hours later."""

    async def token(self, seconds: float) -> str:
        """A signed token, worth something for so many seconds. Unavailable: Postgres is away, and nothing was begun."""
        ...


@dataclass(frozen=True, slots=True)
class RunContext:
    """The attempt an executor is asked to make. `timeout_seconds` is the whole budget of this attempt.

    `params` came with the trigger; they are already laid over the config that `parse` saw. `budget` is how many tries
    the job allows (None: `max_attempts`, which also counts the tries before somebody asked for another round).
    """

    execution_id: int
    job_id: int
    job_name: str
    scheduled_time: datetime
    attempt: int
    max_attempts: int
    claim_no: int
    timeout_seconds: float
    params: Mapping[str, Any] = field(default_factory=dict)
    budget: int | None = None
    reporter: Reporter = field(default_factory=Silent, repr=False, compare=False)
    secrets: Secrets = field(default_factory=NoSecrets, repr=False, compare=False)
    callback_tokens: CallbackTokens | None = field(default=None, repr=False, compare=False)
    fan_out: FanOut | None = field(default=None, repr=False, compare=False)  # None: nobody can start children here
    egress: NamespaceEgress = EVERYTHING  # what the namespace of the job may call

    @property
    def at_most_once(self) -> bool:
        """Whether no other try may follow this one, so that an unknown effect has to be told as `lost`."""
        return (self.budget or self.max_attempts) == 1

    async def progress(self, percent: float, note: str | None = None) -> None:
        """Show how far the attempt is, from 0 to 100, within about half a second; gives way to others once."""
        self.reporter.progress(percent, note)
        await asyncio.sleep(0)

    def log(self, message: str, level: str = "info", **fields: Any) -> None:
        """Add a line to the execution's log; the oldest of more than 200 lines or 64 KB go."""
        self.reporter.log(message, level, fields)

    @property
    def idempotency_key(self) -> str:
        """The key of an execution, the same for all its attempts.

        Ids start at 1 in every database; with the instant beside them, two deployments hardly ever say the same key.
        """
        instant = self.scheduled_time.astimezone(UTC)
        return f"cronsvc-{self.job_id}-{self.execution_id}-{instant:%Y%m%dT%H%M%S.%fZ}"


class Executor(Protocol):
    """One job type. Instances are made once a process by their entry point with an ExecutorSettings.

    One that puts secrets into its config has besides `secret_members`, a tuple of the members of the config in which
    `{{secret:name}}` may stand; elsewhere, and in other job types, a definition with such a reference is refused.
    `options.py` says what else one may have: its own way of merging params, and the role that defining such jobs needs.
    """

    def parse(self, config: Mapping[str, Any]) -> Any:
        """Check a `taskPayload.config`; raises InvalidInput with fields below `taskPayload.config`, or NotInstalled."""
        ...

    async def run(self, config: Any, context: RunContext) -> Outcome:
        """Make one attempt with what `parse` returned. An exception counts as a retryable failure."""
        ...

    async def close(self) -> None:
        """Let go of sockets and children; called once, after the last `run` has ended."""
        ...


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """What the operator grants to job types.

    `egress_allow` lists the CIDRs and host names that job URLs may reach although they are private, `handler_modules`
    the modules whose `@handler` functions PYTHON jobs may name, `sql_dsns` the databases of SQL jobs by name (they hold
    passwords), `commands` what COMMAND jobs may run by name, `allow_insecure_tls` whether a job may do without the
    check of its target's certificate. `public_url` is where targets reach the API.
    """

    egress_allow: tuple[str, ...] = ()
    max_connections: int = 100
    handler_modules: tuple[str, ...] = ()
    sql_dsns: Mapping[str, str] = field(default_factory=dict, repr=False)
    commands: Mapping[str, Command] = field(default_factory=dict)
    allow_insecure_tls: bool = False
    public_url: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What these settings grant."""
        return cls(
            egress_allow=settings.egress_allow,
            handler_modules=settings.handler_modules,
            sql_dsns=settings.sql_connections(),
            commands=settings.commands,
            allow_insecure_tls=settings.allow_insecure_tls,
            public_url=settings.public_url,
        )
