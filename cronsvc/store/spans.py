"""How statements are told of executions: by keys, with the span of their instants, which keeps them to few weeks."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any


def by_key(keys: Iterable[tuple[int, datetime]]) -> dict[str, Any]:
    """Parameters for executions of these (job id, instant), in this order; there has to be at least one.

    `job_ids` and `times` belong together, `least` and `greatest` are the bounds of `times`.
    """
    ordered = list(keys)
    times = [scheduled_time for _, scheduled_time in ordered]
    return {"job_ids": [job_id for job_id, _ in ordered], "times": times, "least": min(times), "greatest": max(times)}
