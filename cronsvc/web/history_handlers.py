"""/api/v1/jobs/{jobId}/statistics and the clean-up: what the past adds up to, and clearing it away."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from cronsvc.store.statistics import DayStatistics
from cronsvc.web.answers import answer
from cronsvc.web.history_models import (
    CleanupAnswer,
    CleanupIn,
    CountsAnswer,
    DayAnswer,
    StatisticsAnswer,
    StatisticsQuery,
)
from cronsvc.web.routing import Call


async def job_statistics(call: Call) -> Response:
    """How a job's executions ended, day by day."""
    query: StatisticsQuery = call.query
    first, last, days = await call.services.history.statistics(
        call.id_in_path("jobId"), call.caller, first=query.first, last=query.last
    )
    return answer(
        StatisticsAnswer(
            first=first,
            last=last,
            total=CountsAnswer(**_counts(days)),
            days=[DayAnswer(day=each.day, trigger=each.trigger, **_counts([each])) for each in days],
        )
    )


async def clean_up(call: Call) -> Response:
    """Delete executions that ended longer ago than the grace period."""
    body: CleanupIn = call.body
    hours = body.grace_period_hours
    done = await call.services.history.clean_up(call.caller, grace_period_hours=hours)
    words = f"Old jobs cleaned up (grace period: {hours}h)"
    return answer(CleanupAnswer(success=True, message=words, deleted=done.deleted, more=done.more))


def _counts(days: Sequence[DayStatistics]) -> dict[str, Any]:
    success = sum(each.success for each in days)
    shortest = [each.duration_ms_min for each in days if each.duration_ms_min is not None]
    longest = [each.duration_ms_max for each in days if each.duration_ms_max is not None]
    return {
        "success": success,
        "failed": sum(each.failed for each in days),
        "skipped": sum(each.skipped for each in days),
        "cancelled": sum(each.cancelled for each in days),
        "attempts": sum(each.attempts for each in days),
        "duration_ms_average": sum(each.duration_ms_sum for each in days) / success if shortest else None,
        "duration_ms_min": min(shortest, default=None),
        "duration_ms_max": max(longest, default=None),
    }
