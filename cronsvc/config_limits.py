"""How much the operator lets anybody ask for: requests a minute, jobs, and how often one may fire."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

DEFAULT_RATES = "reads=1200,writes=300,triggers=300,sign_ins=10,denied=300"
OFF = "off"


def read_rates(text: str) -> Mapping[str, int]:
    """Requests a minute by kind; what is not said has its default, `off` is none at all. ValueError: it is unclear."""
    if text.strip().lower() == OFF:
        return {}
    rates = {name: int(rate) for name, _, rate in (each.partition("=") for each in DEFAULT_RATES.split(","))}
    known, said = ", ".join(rates), set[str]()
    for each in text.split(","):
        name, _, rate = (part.strip() for part in each.partition("="))
        if name not in rates:
            raise ValueError(f"should list what may be asked in a minute, such as {DEFAULT_RATES}; known: {known}")
        if not (rate.isascii() and rate.isdigit() and len(rate) <= 7 and int(rate) >= 1):
            raise ValueError(f"{name} should be 1 or more requests a minute; `off` in place of everything: no limits")
        if name in said:
            raise ValueError(f"{name} is given twice")
        said.add(name)
        rates[name] = int(rate)
    return rates


def _checked(text: str) -> str:
    read_rates(text)
    return text


class LimitSettings(BaseModel):
    """The limits of the environment."""

    rate_limits: Annotated[str, AfterValidator(_checked)] = Field(
        DEFAULT_RATES,
        alias="CRONSVC_RATE_LIMITS",
        description="requests a minute, by key or person, the last two by address; or `off`",
    )
    min_interval_seconds: int = Field(
        1, alias="CRONSVC_MIN_INTERVAL_SECONDS", ge=1, le=86_400, description="shortest time between two fires of a job"
    )
    max_jobs_per_namespace: int = Field(
        10_000,
        alias="CRONSVC_MAX_JOBS_PER_NAMESPACE",
        ge=1,
        le=10_000_000,
        description="jobs that a namespace may have",
    )

    def rates(self) -> Mapping[str, int]:
        """Requests a minute by kind; empty: no limits."""
        return read_rates(self.rate_limits)
