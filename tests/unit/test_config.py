"""The environment: what is accepted, how faults are told, and that no secret is ever repeated."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronsvc.config import URL_PARTS, Settings, load_settings
from cronsvc.errors import ConfigError
from tests.tools.environment_table import environment_table

SECRET = "s3cr3t-p@ss"


def faults_of(**environ: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load_settings(environ)
    return str(raised.value)


def database_url(**environ: str) -> str:
    return load_settings(environ).require_database_url()


def redis_url(**environ: str) -> str:
    return load_settings(environ).require_redis_url()


def test_an_empty_environment_has_defaults() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert (settings.database_url, settings.port, settings.worker_concurrency) == (None, 8000, 5)


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings({"PORT": "", "DATABASE_URL": " ", "CRONSVC_EGRESS_ALLOW": ""}) == Settings()


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@host/db",
        "postgresql://u:p@host:6543/db?sslmode=require",
        "postgresql://u:p@/db?host=/run/postgresql",
        "postgresql://u:p@%2Ftmp%2Frun:5432/db",
        "host=/tmp dbname=x",
    ],
)
def test_database_urls_are_taken_as_they_are(url: str) -> None:
    assert database_url(DATABASE_URL=url) == url


@pytest.mark.parametrize("url", ["mysql://u@h/d", "nonsense", "postgresql://h:99999/d", "postgresql://h:port/d"])
def test_other_database_urls_are_refused(url: str) -> None:
    assert "DATABASE_URL: should be a URL such as postgresql://" in faults_of(DATABASE_URL=url)


@pytest.mark.parametrize("url", ["redis://h", "rediss://:p@h:6380/1", "unix:///run/v.sock?db=0"])
def test_redis_urls_are_taken_as_they_are(url: str) -> None:
    assert redis_url(REDIS_URL=url) == url


def test_another_redis_url_is_refused() -> None:
    assert "REDIS_URL: should be a URL such as redis://" in faults_of(REDIS_URL="http://h")


def test_the_seeds_database_variables_make_a_url() -> None:
    url = database_url(DB_HOST="db", DB_USER="u", DB_PASSWORD="p", DB_DATABASE="cron_service", DB_PORT="5433")
    assert url == "postgresql://u:p@db:5433/cron_service"


def test_special_characters_are_quoted_and_a_socket_folder_is_a_host() -> None:
    url = database_url(DB_HOST="/run/pg", DB_USER="u@x", DB_PASSWORD=" p/:@%", DB_DATABASE="my db")
    assert url == "postgresql://u%40x:%20p%2F%3A%40%25@/my%20db?host=/run/pg&port=5432"


def test_the_seeds_redis_variables_make_a_url() -> None:
    assert redis_url(REDIS_HOST="127.0.0.1") == "redis://127.0.0.1:6379/0"
    quoted = redis_url(REDIS_HOST="::1", REDIS_PORT="7000", REDIS_PASSWORD="a:b@c", REDIS_DB="3")
    assert quoted == "redis://:a%3Ab%40c@[::1]:7000/3"


def test_a_url_wins_over_the_seeds_variables() -> None:
    assert redis_url(REDIS_URL="redis://one", REDIS_HOST="two", REDIS_DB="x") == "redis://one"
    assert database_url(DATABASE_URL="postgres://one/d", DB_HOST="two") == "postgres://one/d"


def test_database_variables_that_are_too_few_are_named() -> None:
    told = faults_of(DB_HOST="db", DB_PORT="0", REDIS_HOST="r", REDIS_DB="first", REDIS_PORT="70000")
    for name in ("DB_USER", "DB_DATABASE", "DB_PORT", "REDIS_DB", "REDIS_PORT"):
        assert f"  {name}: " in told


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "DB_PASSWORD", "REDIS_PASSWORD"])
def test_a_secret_comes_from_a_file(name: str, tmp_path: Path) -> None:
    values = {"DATABASE_URL": "postgres://u:p@h/d", "REDIS_URL": "redis://h", "DB_PASSWORD": "p", "REDIS_PASSWORD": "p"}
    servers = {"DB_HOST": "h", "DB_USER": "u", "DB_DATABASE": "d", "REDIS_HOST": "h"}
    file = tmp_path / "secret"
    file.write_text(values[name] + "\n")
    assert load_settings(servers | {f"{name}_FILE": str(file)}) == load_settings(servers | {name: values[name]})


def test_a_secret_both_ways_or_from_no_file_is_a_fault(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    told = faults_of(DATABASE_URL="postgres://h/d", DATABASE_URL_FILE=missing, REDIS_URL_FILE=missing)
    assert "DATABASE_URL_FILE: DATABASE_URL is set as well; keep one of the two" in told
    assert f"REDIS_URL_FILE: cannot read {missing}: No such file" in told


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CRONSVC_POOL_SIZ", "CRONSVC_POOL_SIZE"),
        ("CRONSVC_DATABASE_URL", "DATABASE_URL"),
        ("CRONSVC_LOGLEVEL", "CRONSVC_LOG_LEVEL"),
        ("CRONSVC_QUEUE_NAME", "QUEUE_NAME"),
    ],
)
def test_an_unknown_name_is_told_with_what_was_meant(name: str, meant: str) -> None:
    assert faults_of(**{name: "1"}).endswith(f"{name}: there is no such variable; did you mean {meant}?")


def test_an_unknown_name_like_no_other_gets_no_suggestion_and_foreign_ones_are_left_alone() -> None:
    assert faults_of(CRONSVC_ZZZ="1").endswith("CRONSVC_ZZZ: there is no such variable")
    assert load_settings({"OTHER_POOL_SIZE": "x", "PATH": "/bin"}) == Settings()


def test_every_fault_is_listed_at_once() -> None:
    told = faults_of(
        DATABASE_URL="ftp://x",
        PORT="99999",
        CRONSVC_POOL_SIZE="many",
        CRONSVC_LOG_LEVEL="loud",
        CRONSVC_EGRESS_ALLOW="10.0.0.0/33",
        QUEUE_NAME="no spaces please",
        CRONSVC_NONSENSE="1",
    )
    assert told.startswith("the environment has 7 faults:\n")
    assert len(told.splitlines()) == 8
    assert "CRONSVC_POOL_SIZE" in told and "not 'many'" in told


def test_words_are_split_and_cases_ignored() -> None:
    settings = load_settings(
        {
            "CRONSVC_WORKER_QUEUES": "reports, default",
            "CRONSVC_EGRESS_ALLOW": "10.0.0.0/8,::1 localhost",
            "CRONSVC_LOG_LEVEL": "INFO",
            "CRONSVC_ADVISORY_LOCKS": "off",
        }
    )
    assert settings.worker_queues == ("reports", "default")
    assert settings.egress_allow == ("10.0.0.0/8", "::1", "localhost")
    assert (settings.log_level, settings.advisory_locks) == ("info", False)


def test_a_lease_must_outlive_two_heartbeats() -> None:
    assert "at least twice CRONSVC_HEARTBEAT_SECONDS" in faults_of(CRONSVC_LEASE_SECONDS="3")


@given(st.text(st.characters(codec="ascii", exclude_characters="\0\r\n"), min_size=1).filter(str.strip))
def test_any_password_survives_its_way_into_the_url(password: str) -> None:
    from psycopg.conninfo import conninfo_to_dict

    url = database_url(DB_HOST="h", DB_USER="u", DB_DATABASE="d", DB_PASSWORD=password)
    assert conninfo_to_dict(url)["password"] == password


def test_no_message_and_no_repr_repeats_a_secret(tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "REDIS_URL"):
        for url in (f"mysql://u:{SECRET}@h/d", f"postgres://u:{SECRET}@h:port/d", f"redis://:{SECRET}@[h/0"):
            assert SECRET not in faults_of(**{name: url, "CRONSVC_X": "1"})
    settings = load_settings({"DATABASE_URL": "postgres://u:s3cr3t-p%40ss@h/d", "REDIS_URL": "redis://:other@h"})
    assert "s3cr3t" not in repr(settings) and "other" not in repr(settings)
    assert set(settings.secret_values()) == {SECRET, "s3cr3t-p%40ss", "other"}


def test_what_is_not_set_is_asked_for() -> None:
    for require in (Settings().require_database_url, Settings().require_redis_url):
        with pytest.raises(ConfigError, match=r"_URL is not set: .* `cronsvc up`"):
            require()


def test_the_table_names_every_variable_once() -> None:
    first_cells = [line.split("|")[1].strip() for line in environment_table().splitlines()[2:]]
    aliases = [f"`{field.alias}`" for field in Settings.model_fields.values()]
    assert sorted(first_cells) == sorted([*aliases, *(f"`{name}`" for name in URL_PARTS)])
    assert all(field.description for field in Settings.model_fields.values())
