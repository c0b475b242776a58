"""What the jobs of a stage call: a process of its own that notes each call, synced, before it answers.

`python -m tests.faults.target FILE` prints its port; the lines are those of the sink. The first part of the path says
how it answers: `ok` with 200, `fail` with 500, `fail-first` with 500 and `refuse-first` with 404 to the first attempt,
`hold-first` not at all to the first attempt, `accept` with 202, `slow` with 200 after a second, `cut` by closing a
connection that is used again. Unlike the sink's it leaves nothing to dice. It imports nothing of cronsvc.
"""

import asyncio
import json
import os
import sys
import time

ANSWER = b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Target:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._calls = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = 0
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, *lines = head.decode("latin-1").split("\r\n")
                fields = (line.split(": ", 1) for line in lines if ": " in line)
                headers = {name.lower(): value for name, value in fields}
                await reader.readexactly(int(headers.get("content-length", "0")))
                path, served = request.split(" ")[1], served + 1
                number, attempt = self._begin(path, headers)
                mode = path.split("/")[1]
                if (mode == "hold-first" and attempt == 1) or (mode == "cut" and served > 1):
                    if mode == "hold-first":
                        await reader.read()  # until the other side is gone
                    self._note(e="end", n=number, how="gone", status=None)
                    return
                if mode == "slow":
                    await asyncio.sleep(1.0)
                status, body = _status(mode, attempt), json.dumps({"attempt": attempt}).encode()
                self._note(e="end", n=number, how="answered", status=status)
                writer.write(ANSWER % (status, len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _begin(self, path: str, headers: dict[str, str]) -> tuple[int, int]:
        """Note a call; its number and its attempt."""
        self._calls += 1
        attempt = int(headers.get("x-cronsvc-attempt", 0))
        self._note(
            e="call",
            n=self._calls,
            path=path,
            execution=int(headers.get("x-cronsvc-execution-id", 0)),
            job=int(headers.get("x-cronsvc-job-id", 0)),
            attempt=attempt,
            fence=int(headers.get("x-cronsvc-fence", 0)),
            key=headers.get("idempotency-key"),
            scheduled=headers.get("x-cronsvc-scheduled-time"),
        )
        return self._calls, attempt

    def _note(self, **row: object) -> None:
        os.write(self._descriptor, (json.dumps({"t": time.time(), **row}) + "\n").encode())
        os.fsync(self._descriptor)


def _status(mode: str, attempt: int) -> int:
    if mode == "accept":
        return 202
    if mode == "fail" or (mode == "fail-first" and attempt == 1):
        return 500
    return 404 if mode == "refuse-first" and attempt == 1 else 200


async def main(path: str) -> None:
    target = Target(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644))
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
