"""The part of the route table that ends executions and lets them run again."""

from cronsvc.services.access import Role
from cronsvc.web import ending_handlers, problems
from cronsvc.web.ending_models import (
    BulkAnswer,
    CancelIn,
    DeadLetterQuery,
    DeadLettersIn,
    ResolveIn,
    ResolveManyIn,
)
from cronsvc.web.fields import SparseList
from cronsvc.web.routing import Route
from cronsvc.web.run_models import ExecutionAnswer, ExecutionList

V1 = "/api/v1"
VIEWER, OPERATOR = Role.VIEWER, Role.OPERATOR

ENDING = (
    Route(
        "POST",
        f"{V1}/executions/{{executionId}}/cancel",
        OPERATOR,
        ending_handlers.cancel_execution,
        "cancelExecution",
        "Cancel an execution that waits or runs",
        "executions",
        status=202,
        body=CancelIn,
        body_optional=True,
        answer=ExecutionAnswer,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    ),
    Route(
        "POST",
        f"{V1}/executions/{{executionId}}/retry",
        OPERATOR,
        ending_handlers.retry_execution,
        "retryExecution",
        "Run a finished execution again",
        "executions",
        status=202,
        answer=ExecutionAnswer,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    ),
)

DEAD_LETTERS = (
    Route(
        "GET",
        f"{V1}/dead-letters",
        VIEWER,
        ending_handlers.list_dead_letters,
        "listDeadLetters",
        "List failed executions that nobody has dealt with",
        "dead letters",
        query=DeadLetterQuery,
        answer=ExecutionList,
        other_answers=((200, SparseList),),
    ),
    Route(
        "POST",
        f"{V1}/dead-letters/redrive",
        OPERATOR,
        ending_handlers.redrive_dead_letters,
        "redriveDeadLetters",
        "Run several dead letters again",
        "dead letters",
        body=DeadLettersIn,
        answer=BulkAnswer,
        takes_idempotency_key=True,
    ),
    Route(
        "POST",
        f"{V1}/dead-letters/resolve",
        OPERATOR,
        ending_handlers.resolve_dead_letters,
        "resolveDeadLetters",
        "Take several dead letters off the list",
        "dead letters",
        body=ResolveManyIn,
        answer=BulkAnswer,
        takes_idempotency_key=True,
    ),
    Route(
        "POST",
        f"{V1}/dead-letters/{{executionId}}/redrive",
        OPERATOR,
        ending_handlers.redrive_dead_letter,
        "redriveDeadLetter",
        "Run a dead letter again",
        "dead letters",
        status=202,
        answer=ExecutionAnswer,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    ),
    Route(
        "POST",
        f"{V1}/dead-letters/{{executionId}}/resolve",
        OPERATOR,
        ending_handlers.resolve_dead_letter,
        "resolveDeadLetter",
        "Take a dead letter off the list",
        "dead letters",
        body=ResolveIn,
        answer=ExecutionAnswer,
        takes_idempotency_key=True,
        problems=(problems.CONFLICT,),
    ),
)

ENDING_ROUTES = (*ENDING, *DEAD_LETTERS)
