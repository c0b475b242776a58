"""What a job type may have besides the methods it must have, and what holds for one that says nothing.

`merge(config, params)` lays the params of a run over the config; without it they are merged key by key.
`examine(config)` is asked besides `parse` when a job is defined: it may take its time, outside of any transaction.
`derived(config, values)` says what a run makes of its secrets and sends in their place, to be masked as they are.
`secret_members` are the members of a config in which `{{secret:name}}` may stand; without it there are none.
`routing` are the members that decide where or how a run is sent: where a config names secrets, params that another
execution hands on may touch none of them; without it there are none.
`host(config)` is the host that a parsed config calls, `hosts(config)` are those that a config as it was written names,
each with its field; without them a type calls nobody whose budgets, breakers and egress lists are known.
`role` is what a caller needs to define, change or give params to jobs of the type; without it `operator`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from cronsvc.domain.job import merge_params
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.base import Executor

DEFAULT_ROLE = "operator"


@runtime_checkable
class Merging(Protocol):
    """A job type with its own idea of where the params of a run belong."""

    def merge(self, config: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """The config of one run; changes neither argument."""
        ...


@runtime_checkable
class Examining(Protocol):
    """A job type that must do more to judge a config than an event loop can wait for."""

    async def examine(self, config: Mapping[str, Any]) -> None:
        """Check what `parse` did not; raises InvalidInput as it does. The config may be one that `parse` refuses."""
        ...


@runtime_checkable
class Deriving(Protocol):
    """A job type that sends secrets in other spellings than their own."""

    def derived(self, config: Mapping[str, Any], values: Mapping[str, str]) -> Collection[str]:
        """These spellings, for a config and the secrets it names; raises InvalidInput when they make no run."""
        ...


@runtime_checkable
class Calling(Protocol):
    """A job type that calls a host, so that budgets, breakers and the lists of namespaces concern it."""

    def host(self, config: Any) -> str:
        """The host that a run with what `parse` returned calls first, spelled as `host_key` does."""
        ...

    def hosts(self, config: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
        """(field, host) of every host that a config names; none for one that `parse` refuses."""
        ...


def host_called(executor: Executor, config: Any) -> str | None:
    """The host that a run with this parsed config calls first; None: nobody knows."""
    theirs: Calling | None = executor if isinstance(executor, Calling) else None
    return None if theirs is None else theirs.host(config)


def hosts_named(executor: Executor | None, config: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """(field, host) of the hosts that a config names, as far as anybody knows."""
    theirs: Calling | None = executor if isinstance(executor, Calling) else None
    return () if theirs is None else theirs.hosts(config)


async def examined(executor: Executor | None, config: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with a config that takes long to find out."""
    theirs: Examining | None = executor if isinstance(executor, Examining) else None
    try:
        if theirs is not None and isinstance(config, Mapping):
            await theirs.examine(config)
    except InvalidInput as error:
        return list(error.errors)
    return []


def derived(executor: Executor | None, config: Mapping[str, Any], values: Mapping[str, str]) -> Collection[str]:
    """What else to mask than the secrets themselves; InvalidInput: no run could have been made with them."""
    theirs: Deriving | None = executor if isinstance(executor, Deriving) else None
    return () if theirs is None else theirs.derived(config, values)


def merged(executor: Executor | None, config: Mapping[str, Any], params: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config of a run that was asked for with `params`, still unparsed."""
    theirs: Merging | None = executor if isinstance(executor, Merging) else None
    return merge_params(config, params) if not params or theirs is None else theirs.merge(config, params)


def role_needed(executor: Executor | None) -> str:
    """The role that jobs of this type ask of whoever defines them."""
    return str(getattr(executor, "role", DEFAULT_ROLE))


def secret_members(executor: Executor | None) -> tuple[str, ...]:
    """Where secrets may stand in a config of this type."""
    return tuple(getattr(executor, "secret_members", ()))


def routing(executor: Executor | None) -> frozenset[str]:
    """What of a config of this type decides where or how a run is sent."""
    return frozenset(getattr(executor, "routing", ()))
