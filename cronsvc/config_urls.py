"""The two servers' URLs, from the separate variables that other programs use: DB_HOST, REDIS_PORT and so on."""

from collections.abc import Mapping
from urllib.parse import quote


def compose_urls(given: dict[str, str], faults: list[str]) -> None:
    """Put DB_* and REDIS_* into DATABASE_URL and REDIS_URL where those are not set; what is wrong goes to `faults`."""
    if "DATABASE_URL" not in given and ("DB_HOST" in given or "DB_DATABASE" in given):
        missing = [name for name in ("DB_USER", "DB_DATABASE") if name not in given]
        faults.extend(f"{name}: is needed beside the other DB_*, unless DATABASE_URL is set" for name in missing)
        port = _port(given, "DB_PORT", 5432, faults)
        if not missing:
            host = given.get("DB_HOST", "localhost")
            login = _login(given["DB_USER"], given.get("DB_PASSWORD"))
            database = quote(given["DB_DATABASE"], safe="")
            is_socket = host.startswith("/")
            where = f"/{database}?host={quote(host)}&port={port}" if is_socket else f"{_host(host)}:{port}/{database}"
            given["DATABASE_URL"] = f"postgresql://{login}@{where}"
    if "REDIS_URL" not in given and "REDIS_HOST" in given:
        port = _port(given, "REDIS_PORT", 6379, faults)
        number = given.get("REDIS_DB", "0")
        if not number.isdecimal():
            faults.append(f"REDIS_DB: should be a number, not {number!r}")
            return
        login = _login("", given["REDIS_PASSWORD"]) + "@" if "REDIS_PASSWORD" in given else ""
        given["REDIS_URL"] = f"redis://{login}{_host(given['REDIS_HOST'])}:{port}/{number}"


def _login(user: str, password: str | None) -> str:
    return quote(user, safe="") + (":" + quote(password, safe="") if password else "")


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe="")


def _port(given: Mapping[str, str], name: str, default: int, faults: list[str]) -> int:
    text = given.get(name, str(default))
    if text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    faults.append(f"{name}: should be a port between 1 and 65535, not {text!r}")
    return default
