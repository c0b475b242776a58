"""CRONSVC_PUBLIC_URL: what a target may be told to call."""

import pytest

from cronsvc.config import load_settings
from cronsvc.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://cron.example.com", "https://cron.example.com"),
        ("https://cron.example.com/", "https://cron.example.com"),
        ("http://10.0.0.7:8000/base/", "http://10.0.0.7:8000/base"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_url_is_read(given: str, read: str) -> None:
    assert load_settings({"CRONSVC_PUBLIC_URL": given}).public_url == read


@pytest.mark.parametrize(
    "given",
    [
        "cron.example.com",
        "ftp://cron.example.com",
        "https://",
        "https://user:password@cron.example.com",
        "https://cron.example.com?x=1",
        "https://cron.example.com/#top",
        "https://cron.example.com/a b",
        "https://cron.example.com/\u00e4",
    ],
)
def test_what_is_none_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="CRONSVC_PUBLIC_URL: should be a URL"):
        load_settings({"CRONSVC_PUBLIC_URL": given})
