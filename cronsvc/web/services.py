"""What the application is made of: the services behind it and the few settings of its own."""

from dataclasses import dataclass

from cronsvc import __version__
from cronsvc.services.access import Access
from cronsvc.services.auditing import Auditing
from cronsvc.services.backfills import Backfills
from cronsvc.services.bulk import Bulk
from cronsvc.services.bulk_pausing import BulkPausing
from cronsvc.services.calendars import Calendars
from cronsvc.services.callbacks import Callbacks
from cronsvc.services.dead_letters import DeadLetters
from cronsvc.services.dependencies import Dependencies
from cronsvc.services.egress_lists import EgressLists
from cronsvc.services.ending import Endings
from cronsvc.services.executions import Executions
from cronsvc.services.explaining import Explaining
from cronsvc.services.groups import Groups
from cronsvc.services.history import History
from cronsvc.services.jobs import Jobs
from cronsvc.services.monitoring import Monitoring
from cronsvc.services.queues import Queues
from cronsvc.services.recoveries import Recoveries
from cronsvc.services.rehearsing import Rehearsals
from cronsvc.services.replaying import Replays
from cronsvc.services.restore import Restore
from cronsvc.services.secrets import Secrets
from cronsvc.services.self_check import SelfCheck
from cronsvc.services.status import StatusReader
from cronsvc.services.target_hosts import TargetHosts
from cronsvc.services.templates import Templates
from cronsvc.services.windows import Windows
from cronsvc.web.rate_limits import RateLimits
from cronsvc.web.sign_in import SignIn


@dataclass(frozen=True, slots=True)
class Services:
    """The services the doors lead to. `rate_limits` None: nobody counts."""

    jobs: Jobs
    rehearsals: Rehearsals
    executions: Executions
    explaining: Explaining
    history: History
    access: Access
    status: StatusReader
    endings: Endings
    dead_letters: DeadLetters
    queues: Queues
    bulk_pausing: BulkPausing
    bulk: Bulk
    monitoring: Monitoring
    backfills: Backfills
    recoveries: Recoveries
    restore: Restore
    self_check: SelfCheck
    calendars: Calendars
    windows: Windows
    dependencies: Dependencies
    callbacks: Callbacks
    secrets: Secrets
    auditing: Auditing
    replays: Replays
    target_hosts: TargetHosts
    egress_lists: EgressLists
    templates: Templates
    groups: Groups
    rate_limits: RateLimits | None = None


@dataclass(frozen=True, slots=True)
class WebSettings:
    """`secure_cookies`: None follows the scheme of each request. `refresh_seconds` is the page's own pace.

    `allowed_hosts`: the names requests may be addressed to, none for any. `sign_in`: an identity provider besides keys.
    """

    max_body_bytes: int = 262_144
    body_deadline_seconds: float = 10.0
    secure_cookies: bool | None = None
    refresh_seconds: int = 10
    version: str = __version__
    allowed_hosts: tuple[str, ...] = ()
    sign_in: SignIn | None = None
