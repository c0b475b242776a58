"""Whether the database we are in is the one we were in: the comparison behind the fence of a restored database.

What is sure: another cluster, database or installation than was written down, and a generation that Redis or a process
remembers and the database does not. A server that only started again, a promoted standby that lost nothing, an empty
Redis or another host name look different and are the same. But where nobody is left who remembers it, a server that
started again is taken for a restored one when it is on another timeline, has long been silent, or is reached where
nobody has reached it: that is how a copy beside a Redis of its own looks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

# One generation is five seconds of a running scheduler. An asynchronous failover may forget a few seconds and must not
# stop the service; a restored backup is minutes behind at the least.
TOLERATED_GENERATIONS = 6

# How long a service may have stood still and be believed by its database alone. A machine is back sooner from a reboot.
BELIEVED_SECONDS = 3600.0

# Between the name of what is on this machine and the data folder of its server.
IN_FOLDER = " in "


class FenceReason(StrEnum):
    OTHER_SERVER = "other_server"  # a dump restored into another cluster, or one that pg_upgrade made
    OTHER_DATABASE = "other_database"  # restored or copied beside, or in place of, the one it was
    WENT_BACK = "went_back"  # an older state of the same database, or one that may be and that nobody remembers
    OTHER_ADDRESS = "other_address"  # started again where nobody has reached it, and nobody remembers it
    OTHER_INSTALLATION = "other_installation"  # started again among processes that carry another name


class Finding(StrEnum):
    OPEN = "open"  # the same database, and the same start of its server
    STARTED_AGAIN = "started again"  # the same database behind a server that was started since
    UNSURE = "unsure"  # started again, and nobody can be asked whether it is the same
    OTHER = "other"  # not what it was: nothing may be sent
    NOT_OURS = "not ours"  # the same as ever, and it is this process that carries another name


@dataclass(frozen=True, slots=True)
class Identity:
    """What a database wrote down about itself, and what it is. Facts that our role may not ask for are None.

    `silent_seconds`: for how long nobody has counted the generation up, by the database's clock. `addresses`: where
    services have reached it (`address_of`), each with the second since 1970 when one was last seen to.
    """

    lineage: str
    generation: int
    database_oid: int
    database_name: str
    system_identifier: str | None
    timeline: int | None
    server_start: datetime
    fenced_at: datetime | None
    reason: FenceReason | None
    detail: str | None
    released_at: datetime | None
    released_by: str | None
    release_mode: str | None
    present_oid: int
    present_name: str
    present_identifier: str | None
    present_timeline: int | None
    present_start: datetime
    silent_seconds: float = 0.0
    installation: str | None = None
    addresses: Mapping[str, int] = field(default_factory=dict)
    present_address: str | None = None
    present_seconds: int = 0

    @property
    def changed_timeline(self) -> bool:
        """Whether a standby was promoted, or recovery ended at some point, since the server was last looked at."""
        return None not in (self.timeline, self.present_timeline) and self.timeline != self.present_timeline


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reason` and `detail` (a sentence) come with Finding.OTHER and Finding.NOT_OURS."""

    finding: Finding
    reason: FenceReason | None = None
    detail: str | None = None


def address_of(*, host: str, port: int, database: str, folder: str | None) -> str:
    """Where a client reaches a database, as it is remembered; nothing of who it is there.

    A socket or a loopback address is the same on every machine: the data folder of the server, if we know it, tells
    those apart.
    """
    name = host.rstrip(".").lower()
    is_socket = host.startswith(("/", "@"))
    if not is_socket and name != "localhost" and name != "::1" and not name.startswith("127."):
        return f"{name}:{port}/{database}"
    where = folder or (host if is_socket else None)
    return f"{'socket' if is_socket else 'localhost'}:{port}/{database}" + (f"{IN_FOLDER}{where}" if where else "")


def judge(
    identity: Identity, remembered: Mapping[str, int], *, asked_redis: bool, installation: str | None = None
) -> Judgement:
    """Compare. `remembered`: the highest generation of each lineage that Redis (if it was asked) or a process knows.

    `installation` is the name that this process was given.
    What is remembered must have been read before the identity, or a slow reader would take the present for the past.
    """
    if identity.fenced_at is not None:
        return Judgement(Finding.OTHER, identity.reason, identity.detail)
    known, found = identity.system_identifier, identity.present_identifier
    if known is not None and found is not None and known != found:
        return _other(FenceReason.OTHER_SERVER, f"it was in the Postgres cluster {known} and is in {found}")
    if identity.database_oid != identity.present_oid:
        was = f"{identity.database_name} (oid {identity.database_oid})"
        return _other(
            FenceReason.OTHER_DATABASE,
            f"it was the database {was} and is {identity.present_name} (oid {identity.present_oid})",
        )
    has_restarted = identity.server_start != identity.present_start
    if None not in (installation, identity.installation) and installation != identity.installation:
        detail = f"it belongs to the installation {identity.installation}, and this process to {installation}"
        # Nobody has moved it: then the process is wrong, and must not stop those that are right.
        finding = Finding.OTHER if has_restarted else Finding.NOT_OURS
        return Judgement(finding, FenceReason.OTHER_INSTALLATION, detail)
    highest = remembered.get(identity.lineage)
    if highest is not None and highest - identity.generation > TOLERATED_GENERATIONS:
        seconds = 5 * (highest - identity.generation)
        return _other(FenceReason.WENT_BACK, f"it is some {seconds} s of service behind what was seen of it before")
    if not has_restarted:
        return Judgement(Finding.OPEN)
    if highest is None:
        return _forgotten(identity) if asked_redis else Judgement(Finding.UNSURE)
    if _is_copied_folder(identity):
        return _at_another_address(identity, "a folder that was moved looks like one that was copied")
    return Judgement(Finding.STARTED_AGAIN)


def _forgotten(identity: Identity) -> Judgement:
    """The server started again, and neither Redis nor a process knows this database."""
    if identity.changed_timeline:
        moved = f"Postgres is on timeline {identity.present_timeline}, it was on {identity.timeline}"
        return _other(FenceReason.WENT_BACK, f"{moved}, and Redis does not know what state it was in")
    if identity.silent_seconds > BELIEVED_SECONDS:
        silence = f"it has been silent for {identity.silent_seconds / 3600:.1f} hours"
        return _other(FenceReason.WENT_BACK, f"{silence}, and Redis does not know what state it was in")
    if identity.addresses and identity.present_address not in (None, *identity.addresses):
        return _at_another_address(identity, "Redis does not know what state it was in")
    return Judgement(Finding.STARTED_AGAIN)


def _is_copied_folder(identity: Identity) -> bool:
    """Whether the server's data is elsewhere on a machine than it always was; Redis' data may be copied beside it.

    Only where every process goes through a socket, as with servers of our own: behind an address a standby may serve.
    """
    present, known = identity.present_address, identity.addresses
    if present is None or not known or identity.changed_timeline:
        return False
    folders = [_folder(each) for each in (present, *known)]
    return None not in folders and folders[0] not in folders[1:]


def _folder(address: str) -> str | None:
    _, found, folder = address.partition(IN_FOLDER)
    return folder if found and address.startswith("socket:") else None


def _at_another_address(identity: Identity, why: str) -> Judgement:
    latest = max(identity.addresses, key=lambda address: identity.addresses[address])
    detail = f"Postgres started again and is reached at {identity.present_address}, it was at {latest}, and {why}"
    return _other(FenceReason.OTHER_ADDRESS, detail)


def _other(reason: FenceReason, detail: str) -> Judgement:
    return Judgement(Finding.OTHER, reason, detail)
