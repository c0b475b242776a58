"""The only judge of side effects: a process of its own that answers the jobs' calls as their class wants and writes
each one down, when it came and how it went. It imports nothing of cronsvc.

`python -m tests.faults.sink FILE SEED` prints its port. What it does follows from the seed, the execution and the
attempt. Lines are appended at once and synced every 50 ms.

    /A/…  200 within 50 ms      /B/…  200 after 5 s       /C/…  500, 429, hangs and resets, else 200
    /D/…  200 after 1 s         /E/… /F/…  200 at once      /G/…  200 after 0 to 4 s        /H/MODE  a hostile target
"""

import asyncio
import contextlib
import gzip
import hashlib
import json
import os
import socket
import struct
import sys
import time
from typing import Any

HANG_SECONDS = 30.0
BIG = 1_000_000_000


class Journal:
    """The file of calls; a thread of the loop syncs it."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        self._dirty = False
        self._serial = 0

    def write(self, **row: Any) -> None:
        os.write(self._descriptor, (json.dumps({"t": time.time(), **row}) + "\n").encode())
        self._dirty = True

    def next(self) -> int:
        self._serial += 1
        return self._serial

    async def keep_synced(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            if self._dirty:
                self._dirty = False
                await asyncio.to_thread(os.fsync, self._descriptor)


class Sink:
    def __init__(self, journal: Journal, seed: int) -> None:
        self._journal = journal
        self._seed = seed
        self._bomb = gzip.compress(bytes(20_000_000), 9)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The calls of one connection, one after the other."""
        try:
            while await self._call(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError):
            pass
        finally:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one call; whether the connection may carry another."""
        head = await reader.readuntil(b"\r\n\r\n")
        request, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if ": " in line)}
        await reader.readexactly(int(headers.get("content-length", "0")))
        path = request.split(" ")[1]
        serial = self._journal.next()
        execution, attempt = int(headers.get("x-cronsvc-execution-id", 0)), int(headers.get("x-cronsvc-attempt", 0))
        self._journal.write(
            e="call",
            n=serial,
            path=path,
            execution=execution,
            attempt=attempt,
            job=int(headers.get("x-cronsvc-job-id", 0)),
            fence=int(headers.get("x-cronsvc-fence", 0)),
            key=headers.get("idempotency-key"),
            scheduled=headers.get("x-cronsvc-scheduled-time"),
        )
        kind = path.strip("/").split("/")[0]
        dice = self._dice(execution, attempt)
        how, status, keeps = "gone", None, False
        try:
            if kind == "H":
                how = await hostile(path.strip("/").split("/")[1], writer, self._bomb)
            else:
                how, status, keeps = await self._answer(kind, dice, reader, writer)
        finally:
            self._journal.write(e="end", n=serial, how=how, status=status)
        return keeps

    async def _answer(
        self, kind: str, dice: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, int | None, bool]:
        """What was done, the status that was sent, and whether the connection goes on."""
        status, seconds, extra = _plan(kind, dice)
        if not await _wait(seconds, reader):
            return "gone", None, False
        if status == 0:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            await writer.drain()
            await asyncio.sleep(0.02)
            _reset(writer)
            return "reset", None, False
        body = json.dumps({"ok": status == 200, "dice": dice}).encode()
        head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return "answered", status, True

    def _dice(self, execution: int, attempt: int) -> float:
        digest = hashlib.blake2b(f"{self._seed}:{execution}:{attempt}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64


def _plan(kind: str, dice: float) -> tuple[int, float, str]:
    """Status (0: a reset in the middle of the body), seconds before it, and a header more."""
    match kind:
        case "A":
            return 200, dice * 0.05, ""
        case "B":
            return 200, 5.0, ""
        case "C" if dice < 0.30:
            return 500, 0.0, ""
        case "C" if dice < 0.40:
            return 429, 0.0, "Retry-After: 2\r\n"
        case "C" if dice < 0.43:
            return 200, HANG_SECONDS, ""
        case "C" if dice < 0.45:
            return 0, 0.0, ""
        case "D":
            return 200, 1.0, ""
        case "G":
            return 200, dice * 4.0, ""
        case _:
            return 200, 0.0, ""


async def _wait(seconds: float, reader: asyncio.StreamReader) -> bool:
    """Let time go by; False as soon as the caller has gone away."""
    if seconds <= 0:
        return True
    try:
        async with asyncio.timeout(seconds):
            await reader.read(1)
        return False
    except TimeoutError:
        return True
    except OSError:
        return False


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hostile(mode: str, writer: asyncio.StreamWriter, bomb: bytes) -> str:
    """Mistreat the caller for as long as it lets us, at most HANG_SECONDS; returns the mode."""
    end = time.monotonic() + HANG_SECONDS
    with contextlib.suppress(OSError):
        match mode:
            case "bomb":  # zeros, a thousand times as many as bytes
                head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
                writer.write(head.encode() + bomb)
                await writer.drain()
            case "drip_head":
                writer.write(b"HTTP/1.1 200 OK\r\n")
                while time.monotonic() < end:
                    writer.write(b"X-Drip: 1\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.3)
            case "drip_body":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while time.monotonic() < end:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.3)
            case "giant":
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n".encode())
                while time.monotonic() < end:
                    writer.write(bytes(65_536))
                    await writer.drain()
            case "redirect":
                writer.write(
                    b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n"
                )
                await writer.drain()
            case "reset":
                _reset(writer)
            case _:
                writer.write(b"SSH-2.0-not_http\r\n\x00\xff\xfe\r\n\r\n")
                await writer.drain()
    return mode


async def main(path: str, seed: int) -> None:
    journal = Journal(path)
    sink = Sink(journal, seed)
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.gather(server.serve_forever(), journal.keep_synced())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
