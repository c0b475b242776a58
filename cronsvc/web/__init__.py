"""The HTTP doors: the JSON API under /api/v1, the probes, and the status page.

One table (`routes.ROUTES`) says which paths exist, who may call them and what goes in and out. The application, the
OpenAPI document and the permission tests are all made from it, so a route cannot be undocumented or unprotected.
A request passes: `headers` (request id, security headers, last resort for exceptions) → `doors` (method, credential,
role, CSRF on the page, body and query parsing) → a handler, which calls one service and answers with one model.
Nothing here opens a transaction or knows that Postgres and Redis exist.
"""
