"""`secrets` at a shell: values by standard input only, and keys that change."""

import subprocess
import sys

import pytest

from cronsvc.services.sealing import new_key
from tests.cli.support import PATIENCE, cronsvc, environment
from tests.support.servers import Embedded

VALUE = "hunter2-hunter2"


@pytest.fixture
def variables(database_url: str, valkey_server: Embedded) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "REDIS_URL": valkey_server.url, "CRONSVC_SECRET_KEYS": new_key()}


def told(value: bytes, *arguments: str, **given: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a command that reads its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "cronsvc", *arguments],
        env=environment(given),
        input=value,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )


def test_set_list_rotate_delete(variables: dict[str, str]) -> None:
    made = told(f"{VALUE}\n".encode(), "secrets", "set", "token", **variables)
    assert (made.returncode, made.stdout) == (0, b"default/token is at version 1\n"), made.stderr
    assert told(VALUE.encode(), "secrets", "set", "other", "--namespace", "red", **variables).returncode == 0
    listed = cronsvc("secrets", "list", **variables)
    assert "default" in listed.stdout and "token" in listed.stdout and "red" in listed.stdout
    assert VALUE not in listed.stdout
    assert "token" not in cronsvc("secrets", "list", "--namespace", "red", **variables).stdout

    fresh = cronsvc("secrets", "new-key").stdout.strip()
    rotating = variables | {"CRONSVC_SECRET_KEYS": f"{fresh},{variables['CRONSVC_SECRET_KEYS']}"}
    assert cronsvc("secrets", "rotate", **rotating).stdout == "2 secrets are encrypted anew\n"
    only_new = variables | {"CRONSVC_SECRET_KEYS": fresh}
    assert cronsvc("secrets", "rotate", **only_new).stdout == "0 secrets are encrypted anew\n"
    lost = cronsvc("secrets", "rotate", **variables)
    assert lost.returncode == 1
    assert "default/token, red/other" in lost.stderr

    assert cronsvc("secrets", "delete", "token", **variables).returncode == 0
    gone = cronsvc("secrets", "delete", "token", **variables)
    assert (gone.returncode, gone.stderr) == (1, "cronsvc: there is no secret 'token' in the namespace 'default'\n")


def test_a_value_on_the_command_line_is_no_way(variables: dict[str, str]) -> None:
    assert cronsvc("secrets", "set", "token", VALUE, **variables).returncode == 2


@pytest.mark.parametrize("value", [b"", b"abc\n", b"\xff\xfe\xfd\xfc"])
def test_values_that_are_none(variables: dict[str, str], value: bytes) -> None:
    refused = told(value, "secrets", "set", "token", **variables)
    assert refused.returncode == 1
    assert b"value: " in refused.stderr


def test_without_keys(variables: dict[str, str]) -> None:
    del variables["CRONSVC_SECRET_KEYS"]
    refused = told(VALUE.encode(), "secrets", "set", "token", **variables)
    assert refused.returncode == 1
    assert b"CRONSVC_SECRET_KEYS" in refused.stderr


@pytest.mark.parametrize("keys", ["short", "A" * 43, "hunter2!" * 6])
def test_keys_that_are_none_are_not_repeated(variables: dict[str, str], keys: str) -> None:
    refused = cronsvc("secrets", "list", **variables | {"CRONSVC_SECRET_KEYS": keys})
    assert refused.returncode == 1
    assert "cronsvc secrets new-key" in refused.stderr
    assert keys not in refused.stderr
