"""Who asks, and how far they reach: a role, the same in all their namespaces or another one in each."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from cronsvc.errors import Forbidden
from cronsvc.store.reach import reaching


class Role(StrEnum):
    """What a caller may do; each role may do what those before it may."""

    VIEWER = "viewer"  # look
    OPERATOR = "operator"  # define, change, pause and run jobs
    ADMIN = "admin"  # keys, and everything else

    def reaches(self, required: "Role") -> bool:
        """Whether this role may do what `required` may."""
        order = list(Role)
        return order.index(self) >= order.index(required)


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do. `namespaces` None means all; with `roles`, `role` is the least of them."""

    role: Role
    namespaces: tuple[str, ...] | None = None
    roles: Mapping[str, Role] | None = None

    @classmethod
    def of_roles(cls, roles: Mapping[str, Role]) -> Self:
        """A role for each namespace; where all are the same that is an ordinary grant."""
        least = min(roles.values(), key=list(Role).index)
        differ = any(role is not least for role in roles.values())
        return cls(least, tuple(roles), dict(roles) if differ else None)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a good credential. `namespaces` None means all; `source` is where the request came from.

    `roles` says the role in each of the namespaces where they differ; `role` is then the least of them.
    """

    actor: str
    role: Role
    namespaces: tuple[str, ...] | None = None
    source: str | None = None
    roles: Mapping[str, Role] | None = None
    # Whether there are namespaces that the caller sees, where the role does not reach what this request needs.
    held_back: bool = False

    @classmethod
    def granted(cls, actor: str, grant: Grant, source: str | None) -> Self:
        """The holder of a grant."""
        return cls(actor, grant.role, grant.namespaces, source, grant.roles)

    @property
    def only_namespace(self) -> str | None:
        """The namespace of a caller who has one; None for the others."""
        return self.namespaces[0] if self.namespaces is not None and len(self.namespaces) == 1 else None

    @property
    def home(self) -> str:
        """Where what the caller makes goes, unless they say where."""
        return self.only_namespace or "default"

    def sees(self, namespace: str) -> bool:
        """Whether jobs of this namespace exist for the caller."""
        return self.namespaces is None or namespace in self.namespaces

    def acting_as(self, required: Role) -> "Caller":
        """The caller within the namespaces where their role reaches `required`; Forbidden when there is none."""
        if self.roles is None:
            if self.role.reaches(required):
                return self
            raise Forbidden(f"This needs the role {required.value}; your key has the role {self.role.value}.")
        reached = {namespace: role for namespace, role in self.roles.items() if role.reaches(required)}
        if not reached:
            raise Forbidden(f"This needs the role {required.value}; you have it in none of your namespaces.")
        grant = Grant.of_roles(reached)
        held_back = len(reached) < len(self.roles)
        return replace(self, role=grant.role, namespaces=grant.namespaces, roles=grant.roles, held_back=held_back)


@contextmanager
def everywhere() -> Iterator[None]:
    """As `within`, for a credential that names one thing by itself, whatever its namespace (a callback token)."""
    with reaching(None):
        yield


@contextmanager
def within(caller: Caller) -> Iterator[None]:
    """What is done in the block may touch the caller's namespaces only, where the database guards its tables itself."""
    with reaching(caller.namespaces):
        yield
