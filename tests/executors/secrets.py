"""Secrets for attempts without a store, and what was asked to be hidden."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from cronsvc.executors.base import RunContext, SecretFault
from tests.executors.targets import attempt


@dataclass
class Given:
    """Hands out what it was given."""

    plain: Mapping[str, str]
    asked: list[frozenset[str]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)

    async def values(self, names: Collection[str]) -> Mapping[str, str]:
        self.asked.append(frozenset(names))
        if missing := sorted(set(names) - set(self.plain)):
            raise SecretFault("secret_unknown", f"there is no secret {missing[0]}", retryable=False)
        return {name: self.plain[name] for name in names}

    def hide(self, text: str) -> None:
        self.hidden.append(text)


def attempt_with(
    number: int = 1, of: int = 3, *, timeout_seconds: float = 20.0, **plain: str
) -> tuple[RunContext, Given]:
    """An attempt that may read these secrets."""
    given = Given(plain)
    return replace(attempt(number, of, timeout_seconds=timeout_seconds), secrets=given), given
