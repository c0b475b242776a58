"""Which functions PYTHON jobs may name: registered names only, never a path that came in by a job.

A handler is an entry point in the group `cronsvc.handlers` (its name is the handler's), or a function marked with
`@cronsvc.handlers.handler(name)` in a module that the operator lists in CRONSVC_HANDLER_MODULES. One that cannot be
loaded stops the process at start with a sentence that names it.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from cronsvc.errors import ConfigError
from cronsvc.handlers import MARK

GROUP = "cronsvc.handlers"


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that makes attempts; `module` and `name` (dotted) are where a child process finds it again."""

    function: Callable[..., Any]
    module: str
    name: str
    is_async: bool

    @property
    def origin(self) -> str:
        return f"{self.module}:{self.name}"


def load_handlers(modules: Sequence[str], *, installed: Iterable[EntryPoint] | None = None) -> Mapping[str, Handler]:
    """Every handler there is, by name; ConfigError: one cannot be loaded, or two share a name.

    `installed` replaces what the environment offers.
    """
    handlers: dict[str, Handler] = {}
    for entry_point in entry_points(group=GROUP) if installed is None else installed:
        _add(handlers, entry_point.name, _loaded(entry_point))
    for module in modules:
        for attribute, value in vars(_imported(module)).items():
            name = getattr(value, MARK, None)
            # What a module only imported from another one belongs there.
            if isinstance(name, str) and callable(value) and getattr(value, "__module__", module) == module:
                _add(handlers, name, _handler(value, module, attribute, name))
    return handlers


def _add(handlers: dict[str, Handler], name: str, handler: Handler) -> None:
    other = handlers.setdefault(name, handler)
    # An editable install beside a wheel, or an entry point to a marked function: that is no clash.
    if other.function is not handler.function:
        raise ConfigError(f"two handlers are called {name}: {other.origin} and {handler.origin}")


def _loaded(entry_point: EntryPoint) -> Handler:
    try:
        function = entry_point.load()
    except Exception as error:
        # Somebody else's code: whatever its import raises, the operator needs its name.
        raise ConfigError(
            f"handler {entry_point.name} ({entry_point.value}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return _handler(function, entry_point.module, entry_point.attr, entry_point.name)


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:
        hint = "; is it installed, or on PYTHONPATH?" if isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(
            f"CRONSVC_HANDLER_MODULES: {module} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error


def _handler(function: Any, module: str, name: str, label: str) -> Handler:
    if not callable(function):
        raise ConfigError(f"handler {label} ({module}:{name}) is not a function")
    try:
        inspect.signature(function).bind(object())
    except TypeError:
        raise ConfigError(f"handler {label} ({module}:{name}) must take one argument, the context") from None
    except ValueError:  # a function without a signature, of some extension
        pass
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    return Handler(function, module, name, is_async)
