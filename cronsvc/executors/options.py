"""What a job type may have besides the methods it must have, and what holds for one that says nothing.

`merge(config, params)` lays the params of a run over the config; without it they are merged key by key.
`secret_members` are the members of a config in which `{{secret:name}}` may stand; without it there are none.
`role` is what a caller needs to define, change or give params to jobs of the type; without it `operator`.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from cronsvc.domain.job import merge_params
from cronsvc.executors.base import Executor

DEFAULT_ROLE = "operator"


@runtime_checkable
class Merging(Protocol):
    """A job type with its own idea of where the params of a run belong."""

    def merge(self, config: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """The config of one run; changes neither argument."""
        ...


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
