"""Fixtures of the embedded servers' tests: a fresh folder, and one fresh server of either kind on it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cronsvc.embedded import Embedded
from tests.support.servers import scratch_directory, start_postgres, start_valkey


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that both root's servers and ours may enter."""
    with scratch_directory() as directory:
        yield directory


@pytest.fixture(params=[start_postgres, start_valkey], ids=["postgres", "valkey"])
def start(request: pytest.FixtureRequest) -> Callable[..., Embedded]:
    """Each kind of server in turn: a function of a folder that gives a running one."""
    chosen: Callable[..., Embedded] = request.param
    return chosen
