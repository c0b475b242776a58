"""Requests that a foreign page made a browser send are refused.

The page's unsafe methods trust a cookie, which browsers attach by themselves. So the browser's own word about where
the request comes from is needed: `Sec-Fetch-Site` where it is sent (secure contexts), else an `Origin` whose host is
the one addressed. A request with neither is refused. The API takes bearer keys only, which no foreign page can attach.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from cronsvc.errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_TRUSTED_SITES = frozenset({"same-origin", "none"})


def require_same_origin(method: str, headers: Headers) -> None:
    """Raise Forbidden for an unsafe method unless the browser says that our own page (or its user) sent it."""
    if method in SAFE_METHODS:
        return
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site in _TRUSTED_SITES:
            return
        raise Forbidden("This form was sent from another site. Open cronsvc itself and use the button there.")
    origin = headers.get("origin", "")
    if _authority(origin) is not None and _authority(origin) == headers.get("host", "").lower():
        return
    raise Forbidden("The browser did not say that this form came from cronsvc (no Sec-Fetch-Site, no matching Origin).")


def _authority(origin: str) -> str | None:
    """The host and port of an Origin header; None for `null` and for anything malformed."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") and parts.netloc else None
