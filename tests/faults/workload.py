"""The jobs of a run: seven classes, each with a policy that a fault could break.

A plain      every other second, three attempts, everything that was missed is caught up
B forbid     answers after 5 s of a period of 3: what would overlap is skipped
C flaky      its target fails, throttles, hangs and resets: four attempts
D once       at most one call, ever
E latest     of what was missed for longer than its grace only the latest runs
F edited     somebody pauses, resumes and edits it meanwhile
G ordered    runs one after the other, in order
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Goes out with every call, and must turn up nowhere else.
CANARY = "canary-7f3a9c51-never-write-me-down"

TIMEOUT_SECONDS = 8


@dataclass(frozen=True)
class JobClass:
    letter: str
    jobs: int
    period: int
    fields: dict[str, Any]


BACKOFF = {"type": "exponential", "delaySeconds": 1, "factor": 2, "maxSeconds": 5, "jitter": 0.1}

CLASSES = (
    JobClass("A", 24, 2, {"maxAttempts": 3, "misfirePolicy": "fire_all", "misfireGraceSeconds": 600}),
    JobClass("B", 3, 3, {"maxAttempts": 3, "overlapPolicy": "skip", "misfireGraceSeconds": 600}),
    JobClass("C", 8, 5, {"maxAttempts": 4, "misfireGraceSeconds": 600}),
    JobClass("D", 4, 4, {"maxAttempts": 1, "misfireGraceSeconds": 600}),
    JobClass("E", 2, 1, {"maxAttempts": 3, "misfirePolicy": "fire_once", "misfireGraceSeconds": 3}),
    JobClass("F", 2, 5, {"maxAttempts": 3, "misfireGraceSeconds": 600}),
    JobClass("G", 2, 6, {"maxAttempts": 3, "overlapPolicy": "buffer_all", "misfireGraceSeconds": 600}),
)


def documents(sink_url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The letter and the body of `POST /jobs` for each job: half of a class by cron expression, half by interval."""
    for each in CLASSES:
        for number in range(each.jobs):
            by_cron = each.letter == "F" or number % 2 == 0  # F is edited, and an interval would be counted anew
            when = {"cronExpression": f"*/{each.period} * * * * *"} if by_cron else {"every": each.period}
            yield (
                each.letter,
                {
                    "name": f"{each.letter}-{number}",
                    "timeoutSeconds": TIMEOUT_SECONDS,
                    "backoff": BACKOFF,
                    "taskPayload": {
                        "type": "API_CALL",
                        "config": {
                            "url": f"{sink_url}/{each.letter}/{number}",
                            "method": "POST",
                            "headers": {"Authorization": f"Bearer {CANARY}"},
                            "data": {"n": number},
                        },
                    },
                }
                | when
                | each.fields,
            )


HOSTILE = ("bomb", "drip_head", "drip_body", "giant", "redirect", "reset", "nonsense")


def hostile_document(sink_url: str, mode: str) -> dict[str, Any]:
    """A job that runs when asked, and whose target mistreats the worker."""
    return {
        "name": f"H-{mode}",
        "cronExpression": "0 4 1 3 *",
        "timeoutSeconds": 4,
        "maxAttempts": 1,
        "taskPayload": {"type": "API_CALL", "config": {"url": f"{sink_url}/H/{mode}", "method": "GET"}},
    }
