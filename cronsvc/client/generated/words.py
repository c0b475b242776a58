"""The words of the API.

Made by `python -m tests.tools.generate_client` from the OpenAPI document: change the routes, not this file.
"""

from typing import Literal

from cronsvc.client.shapes import Open

BackfillMode = Open[
    Literal[
        "missing",
        "all",
        "missed",
    ]
]
BackfillStatus = Open[
    Literal[
        "running",
        "paused",
        "finished",
        "cancelled",
    ]
]
BackoffType = Open[
    Literal[
        "exponential",
        "linear",
        "fixed",
        "list",
    ]
]
BulkAction = Open[
    Literal[
        "create",
        "update",
        "pause",
        "resume",
        "trigger",
        "delete",
    ]
]
CalendarRule = Open[
    Literal[
        "skip",
        "next",
        "previous",
    ]
]
ClockEffect = Open[
    Literal[
        "moved",
        "left_out",
        "once",
        "twice",
    ]
]
DependenciesMode = Open[
    Literal[
        "all",
        "any",
    ]
]
Direction = Open[
    Literal[
        "oldest",
        "newest",
    ]
]
During = Open[
    Literal[
        "skip",
        "hold",
    ]
]
FenceReason = Open[
    Literal[
        "other_server",
        "other_database",
        "went_back",
        "other_address",
        "other_installation",
    ]
]
MisfirePolicy = Open[
    Literal[
        "skip",
        "fire_once",
        "fire_all",
    ]
]
ModeInput = Open[
    Literal[
        "all",
        "any",
    ]
]
OverlapPolicy = Open[
    Literal[
        "allow",
        "skip",
        "buffer_one",
        "buffer_all",
        "cancel_other",
        "terminate_other",
    ]
]
ParameterType = Open[
    Literal[
        "string",
        "integer",
        "number",
        "boolean",
        "object",
        "array",
    ]
]
ReleaseMode = Open[
    Literal[
        "resume",
        "skip",
    ]
]
Role = Open[
    Literal[
        "viewer",
        "operator",
        "admin",
    ]
]
Status = Open[
    Literal[
        "QUEUED",
        "RUNNING",
        "SUCCESS",
        "FAILED",
        "SKIPPED",
        "CANCELLED",
    ]
]
Trigger = Open[
    Literal[
        "schedule",
        "manual",
        "backfill",
        "dependency",
        "recovery",
    ]
]
Verdict = Open[
    Literal[
        "ran",
        "running",
        "waiting",
        "held",
        "failed",
        "skipped",
        "cancelled",
        "not_scheduled",
        "not_yet",
        "due",
        "before_job",
        "before_start",
        "after_end",
        "ended",
        "inactive",
        "paused",
        "quarantined",
        "deleted",
        "edited",
        "pruned",
        "missing",
    ]
]
Weekday = Open[
    Literal[
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ]
]
When = Open[
    Literal[
        "success",
        "failure",
        "always",
    ]
]
