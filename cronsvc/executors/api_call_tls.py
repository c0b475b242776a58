"""`tls`: how a target proves who it is, and how we do.

    {"ca": PEM, "certificate": PEM, "key": "{{secret:…}}", "serverName": name, "minimumVersion": "1.2" | "1.3",
     "verify": true}

`ca` takes the place of the system's authorities. A client certificate needs its key, which only a secret can bring.
Certificates are checked unless the operator permits otherwise (CRONSVC_ALLOW_INSECURE_TLS) and the job says
`verify: false`. OpenSSL reads keys from files only: on Linux it is given one that exists in memory alone.
"""

import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cronsvc.domain.secret_references import names
from cronsvc.errors import FieldError, InvalidInput
from cronsvc.executors.config_faults import read_part

LONGEST_PEM = 262_144
HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", re.ASCII)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
PEM_WORDS = "certificates in PEM, as text or from a secret"


class TlsConfig(BaseModel):
    """The `tls` of an API_CALL job."""

    model_config = ConfigDict(strict=True, extra="forbid")

    ca: str | None = Field(None, min_length=1, max_length=LONGEST_PEM, description=PEM_WORDS)
    certificate: str | None = Field(None, min_length=1, max_length=LONGEST_PEM, description=PEM_WORDS)
    key: str | None = Field(None, min_length=1, max_length=LONGEST_PEM, description="a secret, such as {{secret:name}}")
    server_name: str | None = Field(None, alias="serverName", description="the host name that the certificate is for")
    minimum_version: Literal["1.2", "1.3"] = Field("1.2", alias="minimumVersion", description='"1.2" or "1.3"')
    verify: bool = Field(True, description="true or false")


class UnusableTls(ValueError):
    """No connection can be made with these settings; its words repeat nothing of them."""


@dataclass(frozen=True, slots=True)
class Tls:
    """What a connection is made with. Equal ones share a context."""

    ca: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    server_name: str | None = None
    minimum_version: str = "1.2"
    verify: bool = True

    def elsewhere(self) -> "Tls":
        """What holds for any other server than the job's own: nobody but it learns who we are, and all are checked."""
        return replace(self, certificate=None, key=None, server_name=None, verify=True)

    def context(self) -> ssl.SSLContext:
        """The context for it; blocks for some milliseconds. UnusableTls says what OpenSSL does not read."""
        try:
            made = ssl.create_default_context(cadata=self.ca)
        except (ssl.SSLError, ValueError):
            raise UnusableTls("tls.ca holds no certificates in PEM") from None
        made.minimum_version = VERSIONS[self.minimum_version]
        if not self.verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if self.certificate is not None and self.key is not None:
            try:
                with _readable(f"{self.certificate.strip()}\n{self.key.strip()}\n") as path:
                    made.load_cert_chain(path, password=_no_passphrase)
            except (ssl.SSLError, ValueError):
                raise UnusableTls("tls.certificate and tls.key are no certificate with its plain key in PEM") from None
        return made


def read_tls(value: object, path: str, *, insecure_allowed: bool, is_filled: bool) -> Tls:
    """`tls` as it was written; InvalidInput names everything that is wrong with it. `is_filled`: secrets are put in."""
    read = read_part(TlsConfig, value, path=path, kind="tls")
    bad: list[FieldError] = []
    if (read.certificate is None) != (read.key is None):
        missing = "certificate" if read.certificate is None else "key"
        bad.append(FieldError(f"{path}.{missing}", "is needed: a client certificate and its key go together"))
    if read.key is not None and not is_filled and not names(read.key):
        bad.append(FieldError(f"{path}.key", "must come from a secret, such as {{secret:name}}: jobs can be read"))
    if read.server_name is not None and not HOST.fullmatch(read.server_name):
        bad.append(FieldError(f"{path}.serverName", "must be a host name: letters, digits, hyphens and dots"))
    if not read.verify and not insecure_allowed:
        words = "cannot be false here: the operator can permit it with CRONSVC_ALLOW_INSECURE_TLS"
        bad.append(FieldError(f"{path}.verify", words))
    tls = Tls(read.ca, read.certificate, read.key, read.server_name, read.minimum_version, read.verify)
    if read.ca is not None and (is_filled or not names(read.ca)) and not _is_pem(read.ca):
        bad.append(FieldError(f"{path}.ca", f"must be {PEM_WORDS}"))
    if bad:
        raise InvalidInput(bad)
    return tls


def _is_pem(text: str) -> bool:
    """Whether OpenSSL finds at least one certificate in it."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        trusting.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        return False
    return bool(trusting.get_ca_certs() or trusting.cert_store_stats()["x509"])


def _no_passphrase() -> str:
    """OpenSSL would otherwise ask the terminal."""
    raise ValueError("the key is encrypted")


@contextmanager
def _readable(text: str) -> Iterator[str]:
    """A path that holds the text during the block, for this process and in memory where the system can."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("cronsvc-tls"), "wb", 0) as file:
            file.write(text.encode())
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(mode="w", prefix="cronsvc-tls-") as kept:  # 0600, gone after the block
            kept.write(text)
            kept.flush()
            yield kept.name
