"""What the reasons that rows carry mean, in words for people."""

from cronsvc.domain.execution import Reason

# What `status_reason` of a SKIPPED row means, and which part of the job decided it.
SKIPPED_BY = {
    Reason.MISFIRE.value: (
        "misfire",
        "it was seen later than the grace allows, and the misfire policy does not run it",
    ),
    Reason.OVERLAP.value: ("overlap", "an earlier execution was unfinished, and the overlap policy does not run both"),
    Reason.PAUSED.value: ("pause", "the job was paused"),
    "calendar": ("calendar", "its calendar closes this day"),
    "maintenance": ("window", "a maintenance window was open"),
    Reason.RESTORE.value: ("restore", "a restored backup owed it, and an administrator chose not to run it"),
    Reason.UPSTREAM.value: ("dependency", "what it depends on did not end as it waits for"),
}

# What `status_reason` of a row that ended otherwise means.
ENDED_BY = {
    Reason.ERROR.value: "the last attempt reported a failure",
    Reason.TIMEOUT.value: "it ran out of time",
    Reason.LOST.value: "its worker died holding it, and whether its target was reached is unknown",
    Reason.USER.value: "somebody called it off",
    Reason.REPLACED.value: "a newer execution of the job took its place",
    Reason.RESTORE.value: "a restored backup had it waiting, and an administrator chose not to run it",
    Reason.PARENT.value: "the execution that started it was called off or ran out of time",
}

# What `held` of a waiting row means, and which part decided it.
HELD_BY = {
    "overlap": ("overlap", "it waits until earlier executions of the job have ended"),
    "limit": ("limit", "it waits for a place: as many run as the limit of its job, key or queue allows"),
    "queue_paused": ("queue", "its queue is paused"),
    "maintenance": ("window", "a maintenance window holds it until it is over"),
}
