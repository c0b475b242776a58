"""/metrics: what Prometheus scrapes, read from Postgres when it is asked.

Any API process answers for the whole service, so one of them is scraped and not all. It takes a key like everything
else (viewer is enough); a key that is bound to namespaces gets the counts of those.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from cronsvc.domain.target_host import HoldReason
from cronsvc.services.callers import Role
from cronsvc.services.queues import QueueState
from cronsvc.services.self_check import WORDS, Report
from cronsvc.services.status import Overview, Readiness
from cronsvc.services.target_hosts import MOST_HOSTS
from cronsvc.store.metrics import Lateness
from cronsvc.web.probe import Probe
from cronsvc.web.routing import Call, Route

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_QUEUES = 200


@dataclass(frozen=True, slots=True, eq=False)  # a registry asks for its hash
class _Scrape(Collector):
    """One answer's numbers as metrics."""

    version: str
    overview: Overview
    lateness: Lateness
    queues: tuple[QueueState, ...]
    readiness: Readiness
    open_breakers: int
    held: Mapping[HoldReason, int]
    report: Report | None
    is_red: bool
    unsealed: tuple[int, float]

    def collect(self) -> Iterable[Metric]:
        yield from self._executions()
        yield from self._queues()
        yield from self._service()

    def _executions(self) -> Iterable[Metric]:
        seen = self.overview
        yield _by("executions", "Executions scheduled in the last 24 hours.", "status", seen.executions)
        yield _one("waiting_executions", "Executions that are QUEUED.", seen.waiting)
        yield _one("running_executions", "Executions that are RUNNING.", seen.running)
        yield _one(
            "oldest_waiting_seconds",
            "How long the first waiting execution has been ready to run.",
            seen.oldest_waiting_seconds or 0,
        )
        yield _one("dead_letters", "Failed executions that nobody has resolved.", seen.dead_letters)
        jobs = seen.jobs
        states = {
            "active": jobs.active,
            "paused": jobs.paused,
            "inactive": jobs.inactive,
            "quarantined": jobs.quarantined,
        }
        yield _by("jobs", "Jobs by what holds them back.", "state", states)
        late = {"0.5": self.lateness.median, "0.95": self.lateness.p95, "1": self.lateness.greatest}
        known = {quantile: seconds for quantile, seconds in late.items() if seconds is not None}
        about = "From the instant to the start in the last 15 minutes, or to now for what waits."
        yield _by("lateness_seconds", about, "quantile", known)

    def _queues(self) -> Iterable[Metric]:
        shown: tuple[tuple[str, str, Callable[[QueueState], float]], ...] = (
            ("queue_waiting_executions", "Executions of a queue that are QUEUED.", lambda q: q.load.waiting),
            ("queue_running_executions", "Executions of a queue that are RUNNING.", lambda q: q.load.running),
            (
                "queue_oldest_waiting_seconds",
                "How long the first waiting execution of a queue has been ready to run.",
                lambda q: q.load.oldest_seconds or 0,
            ),
            ("queue_workers", "Live workers that serve a queue.", lambda q: q.load.workers),
            ("queue_paused", "1 while a queue is paused.", lambda q: int(q.pause is not None)),
        )
        for name, about, value in shown:
            yield _by(name, about, "queue", {each.name: value(each) for each in self.queues})

    def _service(self) -> Iterable[Metric]:
        seen = self.overview
        yield _one("workers", "Workers that hold a lease.", len(seen.workers))
        yield _one("worker_slots", "Executions that those can run at a time.", sum(w.concurrency for w in seen.workers))
        yield _one("schedulers", "Schedulers that were heard of lately.", len(seen.schedulers))
        yield _one(
            "fenced", "1 while nothing is sent because the database was restored.", self.readiness.fence is not None
        )
        yield _one("open_breakers", "Hosts that no job calls now.", self.open_breakers)
        about = "Executions that wait for a host: its budget, a free place, or its breaker."
        yield _by("held_for_hosts", about, "reason", {reason.value: number for reason, number in self.held.items()})
        waiting, seconds = self.unsealed
        yield _one("audit_waiting", "Entries of the audit log without a place in its chain.", waiting)
        yield _one("audit_waiting_seconds", "How long the first of those has waited.", seconds)
        yield _one("redis_up", "1 if Redis answers.", self.readiness.redis.ok)
        yield _one("database_seconds", "One round trip to Postgres.", seen.database_ms / 1000)
        yield _one(
            "self_check_ok", "0 when what is written differs from what is due by the definitions.", not self.is_red
        )
        if self.report is not None:
            about = "Differences that the latest self check found: " + "; ".join(
                f"{name}: {words}" for name, words in WORDS.items()
            )
            yield _by("self_check_differences", about, "check", self.report.counts)
            yield _one("self_check_timestamp_seconds", "When that was.", self.report.at.timestamp())
        yield _by("build_info", "The release that answers.", "version", {self.version: 1})


def _one(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"cronsvc_{name}", about, value=float(value))


def _by(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"cronsvc_{name}", about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


async def metrics(call: Call) -> Response:
    """The numbers of this moment in Prometheus' text format."""
    services, caller = call.services, call.caller
    probe: Probe = call.request.app.state.probe
    scrape = _Scrape(
        version=call.settings.version,
        overview=await services.status.overview(caller),
        lateness=await services.status.lateness(caller),
        queues=tuple((await services.queues.list(caller, limit=MOST_QUEUES)).items),
        readiness=await probe.readiness(),
        open_breakers=len(await services.target_hosts.open_hosts(caller, most=MOST_HOSTS)),
        held=await services.target_hosts.held_now(caller),
        report=services.self_check.report,
        is_red=services.self_check.is_red,
        unsealed=await services.auditing.backlog(),
    )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(scrape)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE)


METRICS_ROUTES = (
    Route(
        "GET",
        "/metrics",
        Role.VIEWER,
        metrics,
        "getMetrics",
        "Numbers for Prometheus",
        "probes",
        gives_files=("text/plain",),
    ),
)
