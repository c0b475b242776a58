"""URLs that a request may be made of, from strangers: what a person wrote, and where a redirect points."""

import re
from collections.abc import Iterable
from urllib.parse import quote

from yarl import URL

from cronsvc.domain.secret_references import REFERENCE
from cronsvc.executors.api_call_body import is_unicode
from cronsvc.executors.egress import Egress

URL_LIMIT = 2_048
QUERY_URL_LIMIT = 8_192  # with `params`; common servers stop reading the request line there

UNSAFE_IN_URL = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


def url_fault(text: str, egress: Egress) -> str | None:
    """What is wrong with a URL, in words; None when a request may be made of it."""
    if UNSAFE_IN_URL.search(text):
        return "must not contain spaces, control characters or backslashes; percent-encode them"
    authority = AUTHORITY.match(text)
    if authority is None or not text.lower().startswith(("http://", "https://")):
        return "must start with http:// or https://"
    if "@" in authority.group(1):
        return "must not contain a user or password; use an Authorization header"
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        return "is not a URL: check the host, the port and the brackets of an IPv6 address"
    if not url.raw_host:
        return "must name a host"
    if port == 0:
        return "must name a port from 1 to 65535"
    return egress.refusal(url.raw_host)


def with_blanks(text: str) -> tuple[str, str | None]:
    """A URL whose secrets are not put in yet, with words in their places; and what is wrong with where they stand."""
    first = REFERENCE.search(text)
    if first is None:
        return text, None
    blank = REFERENCE.sub("secret", text)
    before, question, _ = text[: first.start()].partition("?")
    if not question or "#" in before:
        return blank, "may hold a secret in its query only, after the question mark: hosts and paths are shown"
    return blank, None


def wire_spellings(value: str) -> frozenset[str]:
    """How a value travels in a query, written into the URL or as a parameter, where that is not as it is.

    yarl leaves more characters alone than the usual percent-encoding, and a target may echo what it was sent.
    """
    try:
        written = URL(f"http://h/?{quote(value, safe='')}").raw_query_string
        added = URL("http://h/").extend_query([("", value)]).raw_query_string.removeprefix("=")
    except ValueError:
        return frozenset()
    return frozenset({written, added}) - {value}


def target(
    text: str | None, pairs: Iterable[tuple[str, str]], egress: Egress
) -> tuple[URL | None, str | None, str | None]:
    """The URL to call, what is wrong with `url`, and with `params`; all None when there is no `url` to read."""
    if text is None:
        return None, None, None
    fault = url_fault(text, egress)
    if fault is not None:
        return None, fault, None
    added = list(pairs)
    if not all(is_unicode(part) for pair in added for part in pair):
        return None, None, "must be valid Unicode"
    url = URL(text).with_fragment(None)
    if added:
        url = url.extend_query(added)
    if len(str(url)) > QUERY_URL_LIMIT:
        return None, None, f"must leave the URL at {QUERY_URL_LIMIT} characters or fewer"
    return url, None, None
