"""What the page needs of an identity provider; `oidc` is the one there is, in the extra of that name."""

from typing import Protocol

from cronsvc.services.tokens import Holder


class SignIn(Protocol):
    """Somebody else who knows who people are."""

    @property
    def name(self) -> str:
        """What the button says."""
        ...

    async def address(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where to send the browser. Unavailable: the provider does not answer."""
        ...

    async def holder(self, *, code: str, issuer: str | None, nonce: str, verifier: str) -> Holder:
        """Whom the provider's answer names. Unauthenticated: it is not good; Forbidden: it grants nothing here."""
        ...
