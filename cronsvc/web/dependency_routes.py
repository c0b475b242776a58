"""The part of the route table that shows what waits for what."""

from cronsvc.services.access import Role
from cronsvc.web import dependency_handlers
from cronsvc.web.dependency_models import ChildQuery, DependenciesAnswer
from cronsvc.web.routing import Route
from cronsvc.web.run_models import ChildList

V1 = "/api/v1"

DEPENDENCY_ROUTES = (
    Route(
        "GET",
        f"{V1}/jobs/{{jobId}}/dependencies",
        Role.VIEWER,
        dependency_handlers.get_dependencies,
        "getJobDependencies",
        "What a job waits for, and who waits for it",
        "jobs",
        answer=DependenciesAnswer,
    ),
    Route(
        "GET",
        f"{V1}/executions/{{executionId}}/children",
        Role.VIEWER,
        dependency_handlers.list_children,
        "listChildren",
        "List the executions that an execution has started",
        "executions",
        query=ChildQuery,
        answer=ChildList,
    ),
)
