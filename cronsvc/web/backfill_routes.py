"""The part of the route table that fills the past on purpose."""

from cronsvc.services.access import Role
from cronsvc.web import backfill_handlers, problems
from cronsvc.web.backfill_models import (
    BackfillAnswer,
    BackfillIn,
    BackfillList,
    BackfillPlanAnswer,
    BackfillQuery,
    RecoveryAnswer,
    RecoveryIn,
    RecoveryList,
    RecoveryPlanAnswer,
    RecoveryQuery,
)
from cronsvc.web.routing import Handler, Route

V1 = "/api/v1"
VIEWER, OPERATOR = Role.VIEWER, Role.OPERATOR


def _steer(action: str, handler: Handler, summary: str) -> Route:
    return Route(
        "POST",
        f"{V1}/backfills/{{backfillId}}/{action}",
        OPERATOR,
        handler,
        f"{action}Backfill",
        summary,
        "backfills",
        answer=BackfillAnswer,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    )


BACKFILL_ROUTES = (
    Route(
        "POST",
        f"{V1}/jobs/{{jobId}}/backfill",
        OPERATOR,
        backfill_handlers.backfill_job,
        "backfillJob",
        "Run a past window of a job, or (dryRun) say what would run",
        "backfills",
        status=202,
        body=BackfillIn,
        answer=BackfillAnswer,
        other_answers=((200, BackfillPlanAnswer),),
        takes_idempotency_key=True,
    ),
    Route(
        "GET",
        f"{V1}/backfills",
        VIEWER,
        backfill_handlers.list_backfills,
        "listBackfills",
        "List backfills",
        "backfills",
        query=BackfillQuery,
        answer=BackfillList,
    ),
    Route(
        "GET",
        f"{V1}/backfills/{{backfillId}}",
        VIEWER,
        backfill_handlers.get_backfill,
        "getBackfill",
        "Read a backfill and how far it is",
        "backfills",
        answer=BackfillAnswer,
    ),
    _steer("cancel", backfill_handlers.cancel_backfill, "Cancel a backfill; what runs ends"),
    _steer("pause", backfill_handlers.pause_backfill, "Start no further instant of a backfill"),
    _steer("resume", backfill_handlers.resume_backfill, "Go on with a paused backfill"),
    Route(
        "POST",
        f"{V1}/recoveries",
        OPERATOR,
        backfill_handlers.recover,
        "recover",
        "Replay what an outage kept from running, or (dryRun) say what would run",
        "backfills",
        status=202,
        body=RecoveryIn,
        answer=RecoveryAnswer,
        other_answers=((200, RecoveryPlanAnswer),),
        takes_idempotency_key=True,
    ),
    Route(
        "GET",
        f"{V1}/recoveries",
        VIEWER,
        backfill_handlers.list_recoveries,
        "listRecoveries",
        "List recoveries",
        "backfills",
        query=RecoveryQuery,
        answer=RecoveryList,
    ),
    Route(
        "GET",
        f"{V1}/recoveries/{{recoveryId}}",
        VIEWER,
        backfill_handlers.get_recovery,
        "getRecovery",
        "Read a recovery and how far it is",
        "backfills",
        answer=RecoveryAnswer,
    ),
    Route(
        "POST",
        f"{V1}/recoveries/{{recoveryId}}/cancel",
        OPERATOR,
        backfill_handlers.cancel_recovery,
        "cancelRecovery",
        "Cancel the backfills of a recovery",
        "backfills",
        answer=RecoveryAnswer,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    ),
)
