"""Functions of cronsvc that tests may wrap, found by name and checked before they are touched."""

import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

Call = Mapping[str, Any]
"""The arguments of a call by name."""


class SeamError(Exception):
    """A fail point or a mutant does not fit the code any more."""


@dataclass(frozen=True, slots=True)
class Seam:
    """A coroutine function: `path` is an attribute of the module, or Class.method. `needs`: parameters it must have."""

    module: str
    path: str
    needs: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.module}.{self.path}"

    def owner(self) -> tuple[Any, str]:
        """What holds the function, and under which name; SeamError when it is not there any more."""
        try:
            holder: Any = importlib.import_module(self.module)
            *classes, name = self.path.split(".")
            for each in classes:
                holder = getattr(holder, each)
            function = vars(holder)[name]
        except (ImportError, AttributeError, KeyError) as error:
            raise SeamError(f"there is no {self} any more") from error
        if not callable(function):
            raise SeamError(f"{self} is not a function any more")
        missing = set(self.needs) - set(inspect.signature(function).parameters)
        if missing:
            raise SeamError(f"{self} has no parameter {', '.join(sorted(missing))} any more")
        return holder, name

    def wrap(
        self, around: Callable[[Callable[..., Any], Call, tuple[Any, ...], dict[str, Any]], Awaitable[Any]]
    ) -> None:
        """Call `around(function, arguments by name, args, kwargs)` in place of the coroutine function."""
        holder, name = self.owner()
        function = vars(holder)[name]
        if not inspect.iscoroutinefunction(function):
            raise SeamError(f"{self} is not a coroutine function any more")
        signature = inspect.signature(function)

        @wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await around(function, signature.bind(*args, **kwargs).arguments, args, kwargs)

        setattr(holder, name, wrapper)
