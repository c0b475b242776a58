"""The log pipeline: one format for every library, and no secret in any of it."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from cronsvc import events
from cronsvc.events import configure_logging

SECRET = 'hunter"22 with spaces'

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging is the process's: leave it as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines(restored: None) -> Lines:
    stream = io.StringIO()
    configure_logging("info", "json", stream=stream, secrets=[SECRET])
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_ours_and_other_libraries_lines_have_one_form(lines: Lines) -> None:
    structlog.get_logger("cronsvc.api").info(events.READY, port=1)
    logging.getLogger("uvicorn.error").warning("Exceeded %d", 7, extra={"color_message": "\x1b[36m"})
    logging.getLogger("saq").warning("about to %s", "stop")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    ours, uvicorn, saq, warning = lines()
    assert (ours["event"], ours["port"], ours["logger"]) == ("ready", 1, "cronsvc.api")
    assert (uvicorn["event"], uvicorn["level"]) == ("Exceeded 7", "warning")
    assert (saq["event"], saq["level"], saq["logger"]) == ("about to stop", "warning", "saq")
    assert "careful" in warning["event"]
    assert {"color_message"}.isdisjoint(uvicorn)
    assert all(set(line) >= {"event", "level", "logger", "timestamp"} for line in (ours, uvicorn, saq, warning))


def test_level_is_respected(lines: Lines) -> None:
    structlog.get_logger("cronsvc.api").debug("no")
    logging.getLogger("other").debug("no")
    assert lines() == []


@pytest.mark.parametrize(
    "message",
    [
        "connecting to postgresql://u:hunter22@h/d",
        "connecting to redis://:hunter22@h/0",
        "conninfo host=x password=hunter22 dbname=y",
        "conninfo password='hunter22' x",
        "sent Authorization: Bearer hunter22hunter22",
        "key csk_hunter22_hunter22hunter22hunter22hunter22",
    ],
)
def test_what_looks_like_a_secret_is_hidden_everywhere(lines: Lines, message: str) -> None:
    logger = structlog.get_logger("cronsvc.x")
    logger.info(message)
    logger.info("event", field=message, nested={"inner": [message]})
    logging.getLogger("saq").error("%s", message)
    try:
        raise ValueError(message)
    except ValueError:
        logger.exception("crashed")
    found = lines()
    assert len(found) == 4
    assert "hunter22" not in json.dumps(found)
    assert "ValueError" in found[-1]["exception"]


def test_fields_named_like_secrets_are_hidden(lines: Lines) -> None:
    structlog.get_logger("cronsvc.x").info(
        "event", password="p4", headers={"Authorization": "p4"}, api_key="p4", tokens=3
    )
    (line,) = lines()
    assert "p4" not in json.dumps(line)
    assert line["tokens"] == 3


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_secret_of_ours_is_hidden_and_tracebacks_show_no_variables(restored: None, format: str) -> None:  # noqa: A002
    stream = io.StringIO()
    configure_logging("info", format, stream=stream, secrets=[SECRET])
    try:
        local = "value-of-a-variable"[:]
        raise ValueError(f"bad {SECRET}")
    except ValueError:
        structlog.get_logger("cronsvc.x").exception("crashed", field=SECRET)
    assert "hunter" not in stream.getvalue()
    assert "ValueError: bad ***" in stream.getvalue()
    assert local not in stream.getvalue()
