"""What this machine lacks."""


class MissingError(Exception):
    """A part of a run is impossible here: it is skipped, and the message says what to install or to allow."""
