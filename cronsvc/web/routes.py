"""The one table of routes: path, who may, what goes in and out. Everything else is made from it.

The browser's part of it is in `page_routes`. A path with fixed words stands before one with a parameter in the same
place, because the first match answers.
"""

from cronsvc.web.audit_routes import AUDIT_ROUTES
from cronsvc.web.backfill_routes import BACKFILL_ROUTES
from cronsvc.web.calendar_routes import CALENDAR_ROUTES
from cronsvc.web.callback_routes import CALLBACK_ROUTES
from cronsvc.web.dependency_routes import DEPENDENCY_ROUTES
from cronsvc.web.ending_routes import ENDING_ROUTES
from cronsvc.web.explain_routes import EXPLAIN_ROUTES
from cronsvc.web.group_routes import GROUP_ROUTES
from cronsvc.web.job_routes import JOB_ROUTES
from cronsvc.web.outbound_routes import OUTBOUND_ROUTES
from cronsvc.web.prometheus import METRICS_ROUTES
from cronsvc.web.queue_routes import MANY_JOBS_ROUTES, QUEUE_ROUTES
from cronsvc.web.restore_routes import RESTORE_ROUTES
from cronsvc.web.run_routes import RUN_ROUTES
from cronsvc.web.secret_routes import SECRET_ROUTES
from cronsvc.web.service_routes import SERVICE_ROUTES
from cronsvc.web.session_routes import SESSION_ROUTES
from cronsvc.web.template_routes import TEMPLATE_ROUTES

API_ROUTES = (
    *MANY_JOBS_ROUTES,
    *JOB_ROUTES,
    *EXPLAIN_ROUTES,
    *QUEUE_ROUTES,
    *RUN_ROUTES,
    *ENDING_ROUTES,
    *DEPENDENCY_ROUTES,
    *CALLBACK_ROUTES,
    *BACKFILL_ROUTES,
    *CALENDAR_ROUTES,
    *SECRET_ROUTES,
    *OUTBOUND_ROUTES,
    *AUDIT_ROUTES,
    *SERVICE_ROUTES,
    *RESTORE_ROUTES,
    *METRICS_ROUTES,
    *SESSION_ROUTES,
    *TEMPLATE_ROUTES,
    *GROUP_ROUTES,
)
