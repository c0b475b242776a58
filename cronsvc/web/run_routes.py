"""The part of the route table about executions as they are read."""

from cronsvc.services.access import Role
from cronsvc.web import problems, run_handlers
from cronsvc.web.fields import SparseList
from cronsvc.web.routing import Route
from cronsvc.web.run_models import (
    ExecutionDetail,
    ExecutionList,
    ExecutionListQuery,
    ProgressAnswer,
)

V1 = "/api/v1"
VIEWER = Role.VIEWER

RUN_ROUTES = (
    Route(
        "GET",
        f"{V1}/executions",
        VIEWER,
        run_handlers.list_executions,
        "listExecutions",
        "List executions",
        "executions",
        query=ExecutionListQuery,
        answer=ExecutionList,
        other_answers=((200, SparseList),),
        problems=(problems.NOT_FOUND,),
    ),
    Route(
        "GET",
        f"{V1}/executions/{{executionId}}",
        VIEWER,
        run_handlers.get_execution,
        "getExecution",
        "Read an execution with its attempts",
        "executions",
        answer=ExecutionDetail,
    ),
    Route(
        "GET",
        f"{V1}/executions/{{executionId}}/progress",
        VIEWER,
        run_handlers.get_progress,
        "getProgress",
        "How far an execution is, and what it says",
        "executions",
        answer=ProgressAnswer,
    ),
)
