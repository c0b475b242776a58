"""The judge of side effects: a process of its own that answers every call with 200 and writes down who called.

`python -m tests.support.receiver FILE` prints its port and then appends one JSON line a call: the host's time, the path
and cronsvc's headers. It imports nothing of cronsvc.
"""

import asyncio
import json
import os
import sys
import time

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'


class Receiver:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request, *lines = head.decode("latin-1").split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines if ": " in line)
                lowered = {name.lower(): value for name, value in headers.items()}
                await reader.readexactly(int(lowered.get("content-length", "0")))
                record = {
                    "at": time.time(),
                    "path": request.split(" ")[1],
                    "key": lowered.get("idempotency-key"),
                    "job": int(lowered.get("x-cronsvc-job-id", 0)),
                    "execution": int(lowered.get("x-cronsvc-execution-id", 0)),
                    "scheduled": lowered.get("x-cronsvc-scheduled-time"),
                    "attempt": int(lowered.get("x-cronsvc-attempt", 0)),
                }
                os.write(self._descriptor, (json.dumps(record) + "\n").encode())
                writer.write(ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main(path: str) -> None:
    receiver = Receiver(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
