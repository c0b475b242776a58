"""Job types are found by entry point; a broken one stops the start with a sentence that names it."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from cronsvc.domain.execution import Outcome
from cronsvc.errors import ConfigError
from cronsvc.executors.api_call import ApiCall
from cronsvc.executors.base import ExecutorSettings, RunContext
from cronsvc.executors.registry import GROUP, load_executors

HERE = __name__


class Echo:
    def __init__(self, settings: ExecutorSettings) -> None:
        self.settings = settings

    def parse(self, config: Mapping[str, Any]) -> Any:
        return config

    async def run(self, config: Any, context: RunContext) -> Outcome:
        return Outcome(result=config)

    async def close(self) -> None:
        pass


class Unbuildable:
    def __init__(self, settings: ExecutorSettings) -> None:
        raise RuntimeError("no licence")


class Half:
    def __init__(self, settings: ExecutorSettings) -> None:
        pass

    def parse(self, config: Mapping[str, Any]) -> Any:
        return config


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


def test_api_call_is_installed_like_any_other() -> None:
    assert isinstance(load_executors(ExecutorSettings())["API_CALL"], ApiCall)


def test_a_pack_is_made_with_the_settings() -> None:
    settings = ExecutorSettings(egress_allow=("10.0.0.0/8",))
    made = load_executors(settings, installed=[entry("ECHO", f"{HERE}:Echo")])
    assert list(made) == ["ECHO"]
    assert isinstance(made["ECHO"], Echo)
    assert made["ECHO"].settings is settings


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("cronsvc_no_such_pack:Thing", "ModuleNotFoundError"),
        (f"{HERE}:Missing", "AttributeError"),
        (f"{HERE}:Unbuildable", "no licence"),
        (f"{HERE}:Half", "it has no run, close"),
        (f"{HERE}:GROUP", "TypeError"),
    ],
)
def test_a_broken_pack_is_named(value: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_executors(ExecutorSettings(), installed=[entry("ECHO", value)])
    assert "ECHO" in str(caught.value)
    assert value in str(caught.value)
    assert words in str(caught.value)


def test_two_packs_cannot_share_a_name() -> None:
    clash = [entry("ECHO", f"{HERE}:Echo"), entry("ECHO", "other.pack:Echo")]
    with pytest.raises(ConfigError, match=r"ECHO.*other\.pack"):
        load_executors(ExecutorSettings(), installed=clash)


def test_the_same_entry_point_found_twice_is_one() -> None:
    assert len(load_executors(ExecutorSettings(), installed=[entry("ECHO", f"{HERE}:Echo")] * 2)) == 1


def test_a_bad_allow_list_is_said_in_its_own_words() -> None:
    with pytest.raises(ConfigError, match="CRONSVC_EGRESS_ALLOW"):
        load_executors(ExecutorSettings(egress_allow=("10.0.0.0/33",)))
