"""Finding the job types that are installed.

Ours and those of packs arrive the same way: an entry point in the group `cronsvc.executors` whose name is the job type
and whose object is a class that takes an ExecutorSettings. A pack that cannot be loaded stops the process at start with
a sentence that names it: running without it would release its tickets for ever without saying why.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from cronsvc.errors import ConfigError
from cronsvc.executors.base import Executor, ExecutorSettings

GROUP = "cronsvc.executors"
METHODS = ("parse", "run", "close")


def load_executors(settings: ExecutorSettings, *, installed: Iterable[EntryPoint] | None = None) -> dict[str, Executor]:
    """Make one executor of every installed job type, by name.

    `installed` replaces what the environment offers. Raises ConfigError when an entry point cannot be loaded, makes
    something that is not an executor, or when two distributions claim one name.
    """
    executors: dict[str, Executor] = {}
    origins: dict[str, str] = {}
    for entry_point in entry_points(group=GROUP) if installed is None else installed:
        name = entry_point.name
        # The same distribution may be found twice on sys.path (an editable install beside a wheel): that is no clash.
        if origins.get(name) == entry_point.value:
            continue
        if name in origins:
            raise ConfigError(
                f"two job types are called {name}: {origins[name]} and {entry_point.value}; uninstall one of them"
            )
        origins[name] = entry_point.value
        executors[name] = make_executor(entry_point, settings)
    return executors


def make_executor(entry_point: EntryPoint, settings: ExecutorSettings) -> Executor:
    """Load and build one job type; raises ConfigError naming it, or the ConfigError its constructor raised."""
    label = f"job type {entry_point.name} ({entry_point.value})"
    try:
        executor = entry_point.load()(settings)
    except ConfigError:
        raise
    except Exception as error:
        # A pack is somebody else's code: whatever its import or constructor raises, the operator needs its name.
        raise ConfigError(f"{label} cannot be loaded: {type(error).__name__}: {error}") from error
    missing = [method for method in METHODS if not callable(getattr(executor, method, None))]
    if missing:
        raise ConfigError(f"{label} is not an executor: it has no {', '.join(missing)}")
    loaded: Executor = executor
    return loaded
