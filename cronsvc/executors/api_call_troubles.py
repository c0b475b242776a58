"""Why a call has no usable answer: exceptions of the client as rows of the table, and in words of ours.

No text of the client's, which may carry headers, and no address that a name led to.
"""

import os
import ssl

import aiohttp

from cronsvc.executors.api_call_answer import Exchange
from cronsvc.executors.api_call_config import PreparedCall
from cronsvc.executors.api_call_oauth import TokenRefused
from cronsvc.executors.api_call_sessions import CONNECT_SECONDS
from cronsvc.executors.api_call_tls import UnusableTls
from cronsvc.executors.egress import EgressDenied, NotListed
from cronsvc.executors.outcomes import Trouble

KNOWN = (aiohttp.ClientError, OSError, TimeoutError, ValueError, TokenRefused)
"""What a call may raise that is somebody else's doing."""


def trouble_of(error: Exception, exchange: Exchange) -> Trouble:
    """Which row of the table an exception belongs to."""
    trouble = _trouble(error, exchange)
    if exchange.hops and trouble in (Trouble.CONNECT, Trouble.TLS):
        return Trouble.PROTOCOL  # an earlier hop took the request, and what it did with it is not known
    return trouble


def _trouble(error: Exception, exchange: Exchange) -> Trouble:
    if isinstance(error, TokenRefused):
        return error.trouble
    if isinstance(error, EgressDenied):
        return Trouble.EGRESS_DENIED
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, EgressDenied):
        return Trouble.EGRESS_DENIED
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return Trouble.TLS
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Trouble.CONNECT
    if isinstance(error, aiohttp.SocketTimeoutError):
        return Trouble.TIMEOUT
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
        return Trouble.TIMEOUT if exchange.written else Trouble.UNSENT
    if exchange.written:
        return Trouble.PROTOCOL
    # Nothing left: either the request could not be built, or the connection went away before it was used.
    return Trouble.INVALID_CONFIG if isinstance(error, ValueError) else Trouble.CONNECT


def reason_of(error: Exception, config: PreparedCall, exchange: Exchange) -> str:
    """What went wrong, for the people who read the row."""
    url = exchange.url or config.url
    target = f"{url.raw_host}:{url.port}"
    match error:
        case TokenRefused() | UnusableTls():
            return str(error)
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as fault):
            return f"{target} has a certificate that was not accepted: {fault.verify_message}"
        case aiohttp.ClientConnectorDNSError():
            return f"no address was found for {url.raw_host}"
        case NotListed(words):
            return words
        case aiohttp.ClientConnectorError(os_error=EgressDenied()) if exchange.ruled_by is not None:
            return (
                f"the address of {url.raw_host} is not public, or in none of the networks that the egress list of the "
                f"namespace {exchange.ruled_by!r} has"
            )
        case EgressDenied() | aiohttp.ClientConnectorError(os_error=EgressDenied()):
            whose = "redirect's" if exchange.hops or isinstance(error, EgressDenied) else "target's"
            return f"the {whose} address is not public; the operator can permit it in CRONSVC_EGRESS_ALLOW"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return f"no TLS connection to {target}"
        case aiohttp.ConnectionTimeoutError():
            return f"no connection to {target} within {config.timeouts.connect or CONNECT_SECONDS:g} s"
        case aiohttp.SocketTimeoutError():
            return f"{target} was silent for longer than {config.timeouts.idle or 0:g} s"
        case aiohttp.ClientConnectorError(os_error=fault):
            return f"no connection to {target}: {os.strerror(fault.errno) if fault.errno else 'unreachable'}"
        case aiohttp.ClientResponseError():
            return f"{target} did not answer in valid HTTP"
        case TimeoutError():
            return "no complete answer within the job's timeout"
        case ValueError():
            return "no request could be made of this configuration"
        case _:
            return f"{target} closed the connection before its answer was complete"
