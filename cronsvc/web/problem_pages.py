"""/problems: a page for each `type` of a problem document, and the list of them. They are for anybody."""

import json

from starlette.responses import Response

from cronsvc.errors import NotFound
from cronsvc.web.page import Pages
from cronsvc.web.problem_guides import GUIDES
from cronsvc.web.problems import PROBLEMS, problem_document
from cronsvc.web.routing import PUBLIC, Call, Door, Route

_REQUEST_ID = "5f2b7c1d90ab4e3f8d6a1c2b3e4f5a60"


class ProblemPages:
    """The handlers of these pages."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def every_kind(self, call: Call) -> Response:
        """What can go wrong, by status."""
        kinds = sorted(PROBLEMS.values(), key=lambda kind: kind.status)
        return self._pages.render("problem_kinds.html", None, None, kinds=kinds)

    async def kind(self, call: Call) -> Response:
        """What a `type` means, what brings it about, what to do, and how it looks."""
        guide = GUIDES.get(call.request.path_params["slug"])
        if guide is None:
            raise NotFound("There is no such kind of problem.")
        document = problem_document(guide.example, request_id=_REQUEST_ID)
        return self._pages.render(
            "problem_kind.html",
            None,
            None,
            kind=guide.kind,
            guide=guide,
            headers=[("Content-Type", "application/problem+json"), *guide.headers],
            document=json.dumps(document, indent=2),
        )


def problem_page_routes(pages: Pages) -> tuple[Route, ...]:
    """The part of the route table about problems."""
    own = ProblemPages(pages)
    return (
        Route("GET", "/problems", PUBLIC, own.every_kind, "pageProblems", "Problems", "page", door=Door.PAGE),
        Route("GET", "/problems/{slug}", PUBLIC, own.kind, "pageProblem", "A problem", "page", door=Door.PAGE),
    )
