"""Where a redirect leads, for jobs that ask for it with `followRedirects`.

Every hop is a URL of a stranger: it passes the checks of a job's own URL, and its connection the guard. To another
origin (scheme, host or port) go none of the job's headers, whose values may hold secrets, no client certificate and no
body; and once away from home, nothing of these comes back. From https nothing is followed to http.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from yarl import URL

from cronsvc.executors.api_call_url import URL_LIMIT, url_fault
from cronsvc.executors.egress import REFUSAL, Egress, EgressDenied

MOST_HOPS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
KEEPS_METHOD = frozenset({307, 308})
OF_A_BODY = frozenset({"content-type", "content-encoding", "content-language"})


@dataclass(frozen=True, slots=True)
class Hop:
    """One request of a call. `at_home`: all of them so far went to the job's own origin."""

    url: URL
    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    listed_host: bool
    at_home: bool = True


class NotFollowed(Exception):
    """A redirect that leads nowhere we go; its answer stands as it is."""


def next_hop(hop: Hop, status: int, headers: Mapping[str, str], egress: Egress) -> Hop:
    """The request that a redirect asks for. NotFollowed says why not; EgressDenied: it leads to a refused address."""
    location = headers.get("Location", "")
    if not location or len(location) > URL_LIMIT:
        raise NotFollowed("it names no usable Location")
    try:
        url = hop.url.join(URL(location)).with_fragment(None)
    except ValueError:
        raise NotFollowed("its Location is not a URL") from None
    fault = url_fault(str(url), egress)
    if fault == REFUSAL:
        raise EgressDenied
    if fault is not None:
        raise NotFollowed(f"its Location {fault}")
    if hop.url.scheme == "https" and url.scheme != "https":
        raise NotFollowed("it leads from https to http")
    following = replace(
        hop,
        url=url,
        at_home=hop.at_home and url.origin() == hop.url.origin(),
        listed_host=egress.lists_host(url.raw_host or ""),
    )
    if status not in KEEPS_METHOD and (hop.method == "POST" or status == 303) and hop.method != "HEAD":
        kept = tuple(pair for pair in hop.headers if pair[0].lower() not in OF_A_BODY)
        following = replace(following, method="GET", body=None, headers=kept)
    if following.at_home:
        return following
    if following.body is not None:
        raise NotFollowed("it would carry the body to another origin")
    return replace(following, headers=())
