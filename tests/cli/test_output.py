"""What commands print, whatever it is that they were told: a line stays a line, and no terminal acts on it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cronsvc.cli.tables import print_table, text
from tests.cli.support import cronsvc, environment


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no\x1b[31m room", r"no\x1b[31m room"),
        ("no\x9b2J room", r"no\x9b2J room"),
        ("multi\nstate        quarantined", r"multi\nstate        quarantined"),
        ("txt\u202egpj", r"txt\u202egpj"),
        ("a\u2028b\ud800", r"a\u2028b\ud800"),
        ("Übersicht 日本 ✓", "Übersicht 日本 ✓"),
    ],
)
def test_what_is_not_printable_is_shown_as_its_escape(
    said: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text(said) == shown
    print_table(("ID", "NAME"), [(1, said)])
    assert capsys.readouterr().out.splitlines() == [f"ID  {'NAME'.ljust(len(shown))}".rstrip(), f"1   {shown}"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full here")
def test_a_full_disk_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "cronsvc", "version"],
            env=environment({}),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert (finished.returncode, finished.stderr) == (1, f"cronsvc: {os.strerror(28)}\n")


def test_an_error_does_not_act_on_the_terminal_either() -> None:
    refused = cronsvc("jobs", "create", "no\x1b[31mthing.json")
    assert refused.returncode == 1 and refused.stderr.startswith(r"cronsvc: no\x1b[31mthing.json: cannot be read")


@pytest.mark.parametrize(
    "command",
    [
        ["keys", "list"],
        ["keys", "revoke", "x"],
        ["secrets", "set", "x"],
        ["secrets", "list"],
        ["restore", "confirm", "--mode", "resume"],
        ["audit", "verify"],
        ["check"],
        ["migrate"],
        ["up"],
    ],
)
def test_a_command_that_goes_to_the_database_takes_no_url(command: list[str]) -> None:
    """It would act on another system than the one that was named."""
    refused = cronsvc("--url", "https://cron.example.com", *command, DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
    assert "--url" in refused.stderr and "database" in refused.stderr


def test_a_file_that_names_a_database_is_not_overruled_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("DATABASE_URL=postgresql://x@127.0.0.1:1/x\nREDIS_URL=redis://127.0.0.1:1\n")
    command = ("--env-file", str(file), "jobs", "delete", "nightly")
    refused = cronsvc(*command, CRONSVC_URL="https://127.0.0.1:1", CRONSVC_API_KEY="csk_x")
    assert refused.returncode == 2 and "CRONSVC_URL" in refused.stderr and "--env-file" in refused.stderr
    asked = cronsvc("--url", "https://127.0.0.1:1", *command, CRONSVC_URL="https://127.0.0.1:2")
    assert asked.returncode == 1 and "https://127.0.0.1:1: " in asked.stderr


def test_who_has_neither_a_url_nor_a_database_is_told_of_both() -> None:
    refused = cronsvc("jobs", "list")
    assert refused.returncode == 1
    assert all(name in refused.stderr for name in ("CRONSVC_URL", "--url", "CRONSVC_API_KEY", "DATABASE_URL"))


def test_a_database_that_is_away_is_one_sentence_with_the_reason() -> None:
    gone = {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x?connect_timeout=2", "REDIS_URL": "redis://127.0.0.1:1"}
    refused = cronsvc("jobs", "list", **gone)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused.stderr
    assert "refused" in refused.stderr


def test_a_revision_is_a_condition_and_not_a_field() -> None:
    refused = cronsvc("--url", "https://127.0.0.1:1", "jobs", "edit", "x", "--set", "revision=1")
    assert refused.returncode == 1 and "--if-revision" in refused.stderr
