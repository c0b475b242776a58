"""What the page of each kind of problem tells beyond its meaning: causes, what to do, and a document as it comes.

The documents are true: a test sends the request of each and compares the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cronsvc.errors import FieldError
from cronsvc.web.problems import (
    CONFLICT,
    FORBIDDEN,
    GONE,
    INVALID,
    MALFORMED,
    MEDIA,
    METHOD_NOT_ALLOWED,
    MISDIRECTED,
    NOT_FOUND,
    PRECONDITION,
    PROBLEMS,
    TOO_LARGE,
    TOO_MANY,
    TOO_SLOW,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNEXPECTED,
    Problem,
    ProblemKind,
)


@dataclass(frozen=True, slots=True)
class Guide:
    """Help for one kind. `request` is what brings `example` about; `again`: whether sending the same again can help."""

    kind: ProblemKind
    causes: tuple[str, ...]
    remedies: tuple[str, ...]
    request: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    again: str = "No: the same request gets the same answer."

    @property
    def example(self) -> Problem:
        """The problem of the example."""
        return Problem(self.kind, self.detail, self.errors, dict(self.headers))


_GUIDES = (
    Guide(
        INVALID,
        (
            "a field is missing, unknown, of the wrong type or out of bounds",
            "a schedule that never fires, a time zone or a calendar that does not exist",
            "a target that jobs may not call: a private address, a name that does not resolve",
            "a query parameter that the list does not have, a cursor of another list",
            "an `Idempotency-Key` that came before with another body",
        ),
        (
            "Correct every field that `errors` lists; `field` is a dotted path into the body, or the name of a query "
            "parameter, and `reason` says what would be right.",
        ),
        "`POST /api/v1/jobs` with `maxAttempts` 0 and a misspelt time zone",
        "2 fields are wrong; each is listed in errors.",
        (
            FieldError(
                "timezone",
                "'Europe/Londn' is not a time zone of the IANA database; use a name such as Europe/London",
            ),
            FieldError("maxAttempts", "is 0; 1 to 100 is possible"),
        ),
    ),
    Guide(
        MALFORMED,
        (
            "the body is empty, cut off, or not JSON",
            "an object gives a name twice, so that two readers could disagree",
            "`NaN`, `Infinity`, integers beyond 64 bits, nesting deeper than 32 levels",
        ),
        ("Let a JSON library write the body. Send numbers beyond 64 bits as text.",),
        '`POST /api/v1/jobs` with the body `{"name": "a", "name": "b"}`',
        'The body gives the name "name" twice in one object.',
    ),
    Guide(
        UNAUTHENTICATED,
        (
            "there is no `Authorization` header, or it does not begin with `Bearer`",
            "the key was revoked, has expired, or has a typing error (its checksum tells)",
            "the token (JWT) is of an issuer that is not configured, has expired, or is signed otherwise",
            "the token in a callback URL is not one that a worker signed",
        ),
        (
            "Send `Authorization: Bearer <API key>`. `cronsvc keys create` makes a key; `GET /api/v1/keys` lists them.",
            "A target uses the URL in `X-Cronsvc-Callback-Url` as it is.",
        ),
        "`GET /api/v1/jobs` without a key",
        "This needs an API key: send the header Authorization: Bearer <key>.",
        headers=(("WWW-Authenticate", 'Bearer realm="cronsvc"'),),
    ),
    Guide(
        FORBIDDEN,
        (
            "the role of the key is too low: viewer < operator < admin",
            "the key has this role in other namespaces only",
            "a form of a page came from another site",
        ),
        (
            "Ask `GET /api/v1/me` what the key may. An administrator issues another one: `POST /api/v1/keys`.",
            "On a page: open it again and use its own button.",
        ),
        "`POST /api/v1/jobs` with the key of a viewer",
        "This needs the role operator; your key has the role viewer.",
    ),
    Guide(
        NOT_FOUND,
        (
            "nothing has this id, or it was deleted",
            "it lies in a namespace that the key cannot see: that is not told apart",
            "the path has a typing error, or a slash at its end",
        ),
        (
            "Look for it in the list, such as `GET /api/v1/jobs?name=…`. Of a deleted job the executions stay: "
            "`GET /api/v1/executions?jobId=…`.",
        ),
        "`GET /api/v1/jobs/4242`",
        "there is no job 4242",
    ),
    Guide(
        METHOD_NOT_ALLOWED,
        ("the path exists, but not for this method; often a `GET` that should be a `POST`",),
        ("Use a method that the `Allow` header names.",),
        "`DELETE /api/v1/jobs`",
        "This path takes GET, HEAD, POST.",
        headers=(("Allow", "GET, HEAD, POST"),),
    ),
    Guide(
        TOO_SLOW,
        ("the connection is too slow for the body, or the client stopped sending", "`Content-Length` is too large"),
        ("Send it again; the service had read a part of the body only and has changed nothing.",),
        "`POST /api/v1/jobs` with a body that stops after its first byte",
        "The body did not arrive within 10 seconds.",
        again="Yes.",
    ),
    Guide(
        CONFLICT,
        (
            "the name is taken in the namespace",
            "the execution, backfill or recovery has ended already, so that nothing is left to cancel or pause",
            "the first request with this `Idempotency-Key` is still being answered",
            "a thing cannot be deleted while others use it",
        ),
        (
            "Read the thing again: often what was wanted is done already.",
            "With an `Idempotency-Key`: wait for `Retry-After`, then send the same again for the first answer.",
        ),
        "`POST /api/v1/jobs` with a name that a job has",
        "the name 'Daily Report' is taken in namespace 'default' by job 1",
        again="Only with an `Idempotency-Key`, or when the state has changed.",
    ),
    Guide(
        GONE,
        (
            "the execution has ended, was cancelled or took too long",
            "the attempt was given up and a later one runs: its target has another callback URL",
        ),
        ("Stop the work and do not call again. What was done may have to be undone.",),
        "`POST /api/v1/callbacks/{token}/progress` after the execution has ended",
        "execution 1 has ended: it is SUCCESS: stop",
    ),
    Guide(
        PRECONDITION,
        ("somebody else changed it after you had read it, and `If-Match` or `revision` says so in time",),
        (
            "`GET` it, apply your change to what you get, and send it with the new `ETag`.",
            "Without `If-Match` and `revision` the last writer wins.",
        ),
        '`PUT /api/v1/jobs/{jobId}` with `If-Match: "7"` on a job of revision 1',
        "The job is at revision 1, your change was made from 7. Read it again.",
    ),
    Guide(
        TOO_LARGE,
        ("the body has more bytes than `CRONSVC_MAX_BODY_BYTES`, 256 KiB unless set",),
        ("Keep the data elsewhere and give its address to the job; split a bulk call.",),
        "`POST /api/v1/jobs` with a body of 300 000 bytes",
        "The body may have at most 262144 bytes.",
    ),
    Guide(
        MEDIA,
        ("there is no `Content-Type`, or another one than the route reads; curl's `-d` alone says it is a form",),
        ('Add `-H "Content-Type: application/json"`; a calendar file comes as `text/calendar`.',),
        "`POST /api/v1/jobs` with `Content-Type: text/plain`",
        "The body must come with Content-Type: application/json; it says text/plain.",
    ),
    Guide(
        MISDIRECTED,
        (
            "the service is asked under a name that is not in `CRONSVC_ALLOWED_HOSTS`",
            "`Host` is missing or comes twice",
        ),
        ("Use one of the names the operator has set, or let the operator add this one.",),
        "`GET /api/v1/jobs` with `Host: elsewhere.example`",
        "cronsvc does not answer under the name in the Host header.",
    ),
    Guide(
        TOO_MANY,
        (
            "this key or person has sent so many reads, writes or triggers within the minute",
            "this address has sent too many credentials that were not good, or signed in too often",
        ),
        (
            "Wait for `Retry-After` seconds. `RateLimit` in every answer says what is left.",
            "Read lists with a larger `limit`, change many jobs with one `POST /api/v1/jobs/bulk`.",
        ),
        "the second `GET /api/v1/jobs` where one read a minute is allowed",
        "At most 1 reads a minute; try again in 60 seconds.",
        headers=(("Retry-After", "60"),),
        again="Yes, after `Retry-After`.",
    ),
    Guide(
        UNEXPECTED,
        ("a defect of cronsvc, or of a pack that is mounted",),
        ("Look for `requestId` in the log of the API process and report what it says.",),
        "any request, if a handler fails in a way that nobody foresaw",
        UNEXPECTED.meaning,
        again="Perhaps; a change should carry an `Idempotency-Key`, so that it is made once.",
    ),
    Guide(
        UNAVAILABLE,
        (
            "Postgres or Redis cannot be reached, restarts, or a statement took longer than it may",
            "all connections of the pool are taken",
        ),
        (
            "Send it again after `Retry-After`, a change with the same `Idempotency-Key`.",
            "`/ready` says which part fails.",
        ),
        "`GET /api/v1/jobs` while Postgres is away",
        UNAVAILABLE.meaning,
        headers=(("Retry-After", "2"),),
        again="Yes, after `Retry-After`.",
    ),
)

GUIDES: Mapping[str, Guide] = {
    kind.slug: guide for kind in PROBLEMS.values() for guide in _GUIDES if guide.kind is kind
}
