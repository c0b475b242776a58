"""The API as a process of its own, against clients that mean harm: each is refused in time, and memory stays flat."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from cronsvc.services.access import Access, Role
from cronsvc.store.pool import Database
from tests.cli.support import running

MEBIBYTE = 1 << 20
CHUNK = 64 * 1024
AT_ONCE = 12
OPEN = "reads=100000,writes=100000,denied=100000"
PATIENCE = 30.0
# What all attackers together may cost while they last, and what may stay: the allocator keeps some. One body of ten
# megabytes held for each of them would be 120.
MOST_AT_ONCE = 48 * MEBIBYTE
MOST_LEFT = 32 * MEBIBYTE

Attack = Callable[[str], Iterator[bytes]]


def head(key: str, *lines: str, target: str = "/api/v1/jobs", method: str = "POST") -> bytes:
    """The head of a request with a good key; the body is the attacker's business."""
    common = (
        f"{method} {target} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
    )
    return "\r\n".join([*common, *lines, "", ""]).encode()


def whole(key: str, body: bytes) -> Iterator[bytes]:
    yield head(key, f"Content-Length: {len(body)}") + body


def announced(key: str) -> Iterator[bytes]:
    """Ten megabytes that say so."""
    yield head(key, f"Content-Length: {10 * MEBIBYTE}")
    for _ in range(10 * MEBIBYTE // CHUNK):
        yield b" " * CHUNK


def endless(key: str) -> Iterator[bytes]:
    """Chunks that never end."""
    yield head(key, "Transfer-Encoding: chunked")
    while True:
        yield b"10000\r\n" + b" " * CHUNK + b"\r\n"


def unread(_key: str) -> Iterator[bytes]:
    """Chunks that never end, from nobody in particular: the body is not read at all."""
    yield head("csk_nobody", "Transfer-Encoding: chunked")
    while True:
        yield b"10000\r\n" + b" " * CHUNK + b"\r\n"


def deep(key: str) -> Iterator[bytes]:
    return whole(key, b'{"taskPayload":' * 15_000)


def deep_lists(key: str) -> Iterator[bytes]:
    return whole(key, b"[" * 120_000 + b"]" * 120_000)


def many_keys(key: str) -> Iterator[bytes]:
    return whole(key, json.dumps({f"k{at}": at for at in range(5_000)}).encode())


def many_digits(key: str) -> Iterator[bytes]:
    return whole(key, b'{"maxAttempts": ' + b"9" * 250_000 + b"}")


def large_exponent(key: str) -> Iterator[bytes]:
    return whole(key, b'{"backoff": {"factor": 1e999999999}, "name": 1E400}')


def noise(key: str) -> Iterator[bytes]:
    return whole(key, bytes(range(256)) * 900)


def deep_query(key: str) -> Iterator[bytes]:
    yield head(key, method="GET", target="/api/v1/jobs?name" + "[a]" * 10_000 + "=1")


def many_parameters(key: str) -> Iterator[bytes]:
    yield head(key, method="GET", target="/api/v1/jobs?" + "&".join(f"k{at}=1" for at in range(5000)))


def long_target(key: str) -> Iterator[bytes]:
    yield head(key, method="GET", target="/api/v1/jobs?name=" + "a" * 100_000)


def many_headers(key: str) -> Iterator[bytes]:
    yield head(key)[:-2]
    while True:
        yield b"".join(b"x-%d: y\r\n" % at for at in range(1000))


def endless_header(key: str) -> Iterator[bytes]:
    yield head(key)[:-2] + b"x-long: "
    while True:
        yield b"y" * CHUNK


def slow_head(key: str) -> Iterator[bytes]:
    yield head(key)[:-20]


def slow_body(key: str) -> Iterator[bytes]:
    yield head(key, "Content-Length: 1000") + b"{"


def silent(_key: str) -> Iterator[bytes]:
    yield b""


# What may come back; 0 is a connection that ends without an answer, for those who do not stop sending to hear one.
ATTACKS: dict[Attack, set[int]] = {
    announced: {413, 0},
    endless: {413, 0},
    unread: {401, 0},
    deep: {400},
    deep_lists: {400},
    many_keys: {422},
    many_digits: {400},
    large_exponent: {400},
    noise: {400},
    deep_query: {422},
    many_parameters: {422},
    long_target: {431, 0},
    many_headers: {431, 408, 0},
    endless_header: {431, 408, 0},
    slow_head: {408},
    slow_body: {408},
    silent: {0},
}


async def attacked(port: int, attack: Iterator[bytes]) -> int:
    """Send all of it, or until the other side has enough; returns the status of the answer, 0 without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        for part in attack:
            writer.write(part)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                line = await reader.readuntil(b"\r\n")
                status = int(line.split()[1])
                with contextlib.suppress(ConnectionError):
                    while await reader.read(CHUNK):
                        if status not in (401, 413):  # kept alive: the answer is whole
                            break
                return status
            return 0
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await sending
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def wave(port: int, key: str, each: int) -> None:
    """All attacks at once, each so many times."""
    kinds = [attack for attack in ATTACKS for _ in range(each)]
    statuses = await asyncio.gather(*(attacked(port, attack(key)) for attack in kinds))
    seen: dict[str, Counter[int]] = {}
    for attack, status in zip(kinds, statuses, strict=True):
        seen.setdefault(attack.__name__, Counter())[status] += 1
    bad = {
        attack.__name__: seen[attack.__name__] for attack, may in ATTACKS.items() if seen[attack.__name__].keys() - may
    }
    assert not bad, bad


@contextlib.asynccontextmanager
async def peak_of(process: psutil.Process) -> AsyncIterator[list[int]]:
    """The resident bytes of the process, looked at often; the list grows."""
    seen = [process.memory_info().rss]

    async def look() -> None:
        while True:
            seen.append(process.memory_info().rss)
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()


@pytest.mark.slow
async def test_many_attackers_at_once_are_refused_and_leave_memory_flat(
    db: Database, database_url: str, redis_url: str
) -> None:
    """Ten seconds of it are the deadlines of slow heads and bodies, which nobody may have shorter."""
    key = await Access(db).create_key(name="attacker", role=Role.OPERATOR, created_by="tests")
    servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "CRONSVC_RATE_LIMITS": OPEN}
    with running("api", "--port", "0", **servers) as api:
        await asyncio.to_thread(api.wait_for, lambda: any('"event": "ready"' in line for line in api.err))
        url = next(json.loads(line)["url"] for line in api.err if '"event": "ready"' in line)
        port = urlsplit(url).port
        assert port is not None
        process = psutil.Process(api.process.pid)
        await wave(port, key, AT_ONCE // 2)  # imports, pools, the allocator's arenas
        async with peak_of(process) as seen:
            await wave(port, key, AT_ONCE)
        print("RSS", [round(x / MEBIBYTE, 1) for x in (seen[0], max(seen), process.memory_info().rss)])
        assert max(seen) - seen[0] < MOST_AT_ONCE
        assert process.memory_info().rss - seen[0] < MOST_LEFT
        assert await attacked(port, iter([head(key, method="GET", target="/api/v1/me")])) == 200
        assert not [line for line in api.err if "Traceback" in line]
