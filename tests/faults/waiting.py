"""Waiting without guessing: for a port, for an instant."""

import socket
import time


def until_listening(port: int, *, seconds: float) -> None:
    """Return once somebody accepts connections there; RuntimeError after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as client:
            client.settimeout(1.0)
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}")


def until_just_before_a_second(early: float) -> None:
    """Sleep until `early` seconds before the next whole second of the host's clock, which is Postgres' as well."""
    now = time.time()
    time.sleep((-(now + early)) % 1.0)
