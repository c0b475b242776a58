"""/docs: the whole API on one page, made on the server, without a script and without anything from elsewhere."""

import hashlib

from starlette.responses import HTMLResponse, Response

from cronsvc.web.page import Pages
from cronsvc.web.reference import Reference
from cronsvc.web.routing import PUBLIC, Call, Door, Route


class ReferencePages:
    """The handler of the page."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    async def docs(self, call: Call) -> Response:
        """Everything that can be called; rendered once, the same for everybody."""
        reference: Reference = call.request.app.state.reference
        if reference.html is None:
            rendered = self._pages.render("docs.html", None, None, reference=reference)
            reference.html = bytes(rendered.body).decode()
        etag = f'"{hashlib.sha256(reference.html.encode()).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if call.request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(reference.html, headers=headers)


def reference_page_routes(pages: Pages) -> tuple[Route, ...]:
    """The part of the route table about the API's description."""
    own = ReferencePages(pages)
    return (Route("GET", "/docs", PUBLIC, own.docs, "pageDocs", "The API", "page", door=Door.PAGE),)
