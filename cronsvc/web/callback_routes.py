"""The part of the route table that targets call, hours after they answered 202."""

from cronsvc.services.access import Role
from cronsvc.web import callback_handlers, problems
from cronsvc.web.callback_models import CallbackAnswer, CallbackCompleteIn, CallbackProgressIn
from cronsvc.web.routing import TOKEN_IN_PATH, Route

V1 = "/api/v1"
TAG = "callbacks"

CALLBACK_ROUTES = (
    Route(
        "POST",
        f"{V1}/callbacks/{{token}}/progress",
        TOKEN_IN_PATH,
        callback_handlers.report_progress,
        "reportProgress",
        "Say that an execution taken over with 202 is still at work",
        TAG,
        body=CallbackProgressIn,
        body_optional=True,
        answer=CallbackAnswer,
        problems=(problems.GONE,),
    ),
    Route(
        "POST",
        f"{V1}/callbacks/{{token}}/complete",
        TOKEN_IN_PATH,
        callback_handlers.complete,
        "completeExecution",
        "Say how an execution taken over with 202 has ended",
        TAG,
        body=CallbackCompleteIn,
        answer=CallbackAnswer,
        problems=(problems.CONFLICT, problems.GONE),
    ),
    Route(
        "POST",
        f"{V1}/executions/{{executionId}}/progress",
        Role.OPERATOR,
        callback_handlers.report_progress,
        "reportProgressOfExecution",
        "Say that it is still at work, with the token as a bearer, or as an operator",
        TAG,
        body=CallbackProgressIn,
        body_optional=True,
        answer=CallbackAnswer,
        takes_callback_token=True,
        problems=(problems.CONFLICT, problems.GONE),
    ),
    Route(
        "POST",
        f"{V1}/executions/{{executionId}}/complete",
        Role.OPERATOR,
        callback_handlers.complete,
        "completeExecutionById",
        "Say how it has ended, with the token as a bearer, or as an operator",
        TAG,
        body=CallbackCompleteIn,
        answer=CallbackAnswer,
        takes_callback_token=True,
        problems=(problems.CONFLICT, problems.GONE),
    ),
)
