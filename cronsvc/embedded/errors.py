"""What the embedded servers say when they cannot run."""

from cronsvc.errors import CronsvcError


class EmbeddedError(CronsvcError):
    """An embedded server cannot be had; the message says why and what to do, for the person at the keyboard."""
