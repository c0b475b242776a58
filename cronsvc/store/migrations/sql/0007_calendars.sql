-- Holiday calendars and maintenance windows.

CREATE TABLE calendars (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace   text NOT NULL DEFAULT 'default',
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    weekend     smallint[] NOT NULL DEFAULT '{}',
    revision    integer NOT NULL DEFAULT 1,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at  timestamptz,
    CONSTRAINT calendars_name CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    CONSTRAINT calendars_weekend CHECK (weekend <@ '{1,2,3,4,5,6,7}'::smallint[] AND cardinality(weekend) < 7)
);
CREATE UNIQUE INDEX calendars_named ON calendars (namespace, name) WHERE deleted_at IS NULL;

CREATE TABLE calendar_dates (
    calendar_id bigint NOT NULL REFERENCES calendars (id) ON DELETE CASCADE,
    date        date NOT NULL,
    label       text NOT NULL DEFAULT '',
    PRIMARY KEY (calendar_id, date)
);

ALTER TABLE jobs
    ADD COLUMN calendar text,
    ADD COLUMN calendar_rule text NOT NULL DEFAULT 'skip',
    ADD CONSTRAINT jobs_calendar_rule_known CHECK (calendar_rule IN ('skip', 'next', 'previous'));
CREATE INDEX jobs_calendars ON jobs (namespace, calendar) WHERE calendar IS NOT NULL;

-- What a calendar closes, as {dates, weekend}; null when there is none of that name. VOLATILE, so that whoever has waited
-- for a row's lock reads what was committed meanwhile.
CREATE FUNCTION cronsvc_calendar_days(namespace text, calendar text) RETURNS jsonb LANGUAGE sql VOLATILE AS
$$ SELECT jsonb_build_object('weekend', to_jsonb(c.weekend), 'dates',
                             coalesce((SELECT jsonb_agg(d.date) FROM calendar_dates AS d WHERE d.calendar_id = c.id), '[]'))
     FROM calendars AS c WHERE c.namespace = $1 AND c.name = $2 AND c.deleted_at IS NULL $$;

-- The cursors of the jobs that follow this calendar are worked out anew by the next tick, from the first instant that has no
-- row yet. Whoever changes a calendar by SQL calls it in the same transaction.
CREATE FUNCTION cronsvc_calendar_changed(calendar_id bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    moved bigint;
BEGIN
    PERFORM FROM jobs AS j JOIN calendars AS c ON c.namespace = j.namespace AND c.name = j.calendar
      WHERE c.id = calendar_id AND j.deleted_at IS NULL ORDER BY j.id FOR NO KEY UPDATE OF j;
    UPDATE jobs AS j
       SET next_fire_time = CASE WHEN j.armed_revision = j.revision
                                 THEN least(j.next_fire_time - interval '1 microsecond', clock_timestamp())
                                 ELSE j.next_fire_time END,
           armed_revision = 0, quarantine_reason = NULL
      FROM calendars AS c
     WHERE c.id = calendar_id AND c.namespace = j.namespace AND c.name = j.calendar AND j.deleted_at IS NULL
       AND j.next_fire_time IS NOT NULL;
    GET DIAGNOSTICS moved = ROW_COUNT;
    PERFORM pg_notify('cronsvc_wake', '');
    RETURN moved;
END $$;

CREATE TABLE maintenance_windows (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL,
    namespace       text,
    tags            text[] NOT NULL DEFAULT '{}',
    queue           text,
    starts_at       timestamptz,
    ends_at         timestamptz,
    cron_expression varchar(256),
    timezone        text NOT NULL DEFAULT 'UTC',
    duration_seconds integer,
    during          text NOT NULL,
    spread_seconds  integer NOT NULL DEFAULT 0,
    coalesce        boolean NOT NULL DEFAULT false,
    reason          text NOT NULL DEFAULT '',
    revision        integer NOT NULL DEFAULT 1,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    cancelled_at    timestamptz,
    cancelled_by    text,
    CONSTRAINT maintenance_windows_name_filled CHECK (name <> ''),
    CONSTRAINT maintenance_windows_during_known CHECK (during IN ('skip', 'hold')),
    CONSTRAINT maintenance_windows_bounds CHECK (starts_at < ends_at),
    CONSTRAINT maintenance_windows_one_kind CHECK (
        (cron_expression IS NULL AND duration_seconds IS NULL AND starts_at IS NOT NULL AND ends_at IS NOT NULL)
        OR (cron_expression IS NOT NULL AND duration_seconds IS NOT NULL)),
    CONSTRAINT maintenance_windows_duration_bounded CHECK (duration_seconds BETWEEN 1 AND 2678400),
    CONSTRAINT maintenance_windows_spread_bounded CHECK (spread_seconds BETWEEN 0 AND 86400),
    CONSTRAINT maintenance_windows_cancelled_whole CHECK (num_nulls(cancelled_at, cancelled_by) IN (0, 2))
);
CREATE INDEX maintenance_windows_standing ON maintenance_windows (ends_at) WHERE cancelled_at IS NULL;

ALTER TABLE job_executions ADD COLUMN window_id bigint;
CREATE INDEX job_executions_windows ON job_executions (ready_at) WHERE status = 'QUEUED' AND held = 'maintenance';

CREATE OR REPLACE FUNCTION cronsvc_jobs_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF cronsvc_definition(NEW) IS NOT DISTINCT FROM cronsvc_definition(OLD) THEN
        RETURN NEW;
    END IF;
    NEW.revision := OLD.revision + 1;
    NEW.updated_at := clock_timestamp();
    IF NEW.armed_revision = NEW.revision THEN
        RETURN NEW;                                 -- the writer brought the cursor that belongs to its change
    END IF;
    IF (NEW.cron_expression, NEW.every_seconds, NEW.run_at, NEW.timezone, NEW.anchor, NEW.start_at, NEW.end_at, NEW.max_runs,
        NEW.calendar, NEW.calendar_rule)
           IS DISTINCT FROM
       (OLD.cron_expression, OLD.every_seconds, OLD.run_at, OLD.timezone, OLD.anchor, OLD.start_at, OLD.end_at, OLD.max_runs,
        OLD.calendar, OLD.calendar_rule)
       OR (NEW.is_active AND NOT OLD.is_active) OR (NEW.deleted_at IS NULL AND OLD.deleted_at IS NOT NULL) THEN
        NEW.next_fire_time := clock_timestamp();    -- unarmed: the next tick computes the first instant after this one
        NEW.quarantine_reason := NULL;
    ELSIF OLD.armed_revision = OLD.revision THEN
        NEW.armed_revision := NEW.revision;
    END IF;
    RETURN NEW;
END $$;

DROP TRIGGER jobs_stamp ON jobs;
CREATE TRIGGER jobs_stamp BEFORE UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures, max_concurrency, concurrency_key, calendar, calendar_rule
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_stamp();
DROP TRIGGER jobs_record_update ON jobs;
CREATE TRIGGER jobs_record_update AFTER UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures, max_concurrency, concurrency_key, calendar, calendar_rule, paused_at
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_record();

CREATE OR REPLACE VIEW cronsvc_v1.jobs AS
SELECT id, namespace, name, description, tags,
       CASE WHEN NOT is_active THEN 'inactive'
            WHEN quarantine_reason IS NOT NULL THEN 'quarantined'
            WHEN paused_at IS NOT NULL THEN 'paused'
            WHEN next_fire_time IS NULL THEN 'ended'
            ELSE 'active' END AS state,
       cron_expression, every_seconds, run_at, timezone, start_at, end_at, max_runs, jitter_seconds, misfire_policy,
       misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority, max_attempts, backoff, timeout_seconds,
       retention, task_payload ->> 'type' AS task_type, is_active, paused_at, paused_by, pause_note, paused_until,
       CASE WHEN is_active AND paused_at IS NULL AND quarantine_reason IS NULL AND armed_revision = revision
            THEN next_fire_time END AS next_fire_time,
       last_fire_time, fire_count, revision, armed_revision = revision AS is_armed, quarantine_reason, created_at, updated_at,
       retry_on, deadline_seconds, pause_after_failures, consecutive_failures, calendar, calendar_rule
  FROM public.jobs WHERE deleted_at IS NULL;

CREATE OR REPLACE VIEW cronsvc_v1.executions AS
SELECT e.id, e.job_id, j.namespace, j.name AS job_name, e.scheduled_time, e.trigger, e.status, e.status_reason, e.revision, e.queue, e.priority,
       e.attempt, e.max_attempts, e.worker_id, e.created_at AS queued_at, e.ready_at, e.dispatches, e.start_time, e.end_time,
       extract(epoch FROM e.end_time - e.start_time) * 1000 AS duration_ms,
       extract(epoch FROM e.start_time - e.scheduled_time) AS lateness_seconds,
       e.previous_time, e.skipped_until, e.skipped_count, e.requested_by, e.progress, e.result, e.error, e.log_details,
       e.cancel_requested_at, e.cancel_requested_by, e.cancel_note, e.resolved_at, e.resolved_by, e.resolve_note, e.deadline_at, e.backfill_id,
       e.window_id
  FROM public.job_executions e JOIN public.jobs j ON j.id = e.job_id;

CREATE VIEW cronsvc_v1.calendars AS
SELECT c.id, c.namespace, c.name, c.description, c.weekend, c.revision, c.created_by, c.created_at, c.updated_at, d.date, d.label
  FROM public.calendars c LEFT JOIN public.calendar_dates d ON d.calendar_id = c.id
 WHERE c.deleted_at IS NULL;

CREATE VIEW cronsvc_v1.maintenance_windows AS
SELECT id, name, namespace, tags, queue, starts_at, ends_at, cron_expression, timezone, duration_seconds, during, spread_seconds,
       "coalesce", reason, revision, created_by, created_at, updated_at, cancelled_at, cancelled_by
  FROM public.maintenance_windows;

COMMENT ON TABLE calendars IS 'Named lists of dates on which nothing runs, for the jobs of their namespace that follow them. Change by SQL: call cronsvc_calendar_changed.';
COMMENT ON COLUMN calendars.name IS 'Unique in its namespace among calendars that are not deleted; jobs.calendar.';
COMMENT ON COLUMN calendars.weekend IS 'Weekdays that are never working days: 1 is Monday, 7 Sunday.';
COMMENT ON COLUMN calendars.revision IS 'Grows by one with each change; ETag and If-Match of the API.';
COMMENT ON COLUMN calendars.deleted_at IS 'Set when deleted; the name is free again.';
COMMENT ON INDEX calendars_named IS 'One live calendar a name in each namespace, and the look-up by name.';
COMMENT ON TABLE calendar_dates IS 'The dates of calendars, in the time zone of whichever job asks.';
COMMENT ON COLUMN calendar_dates.label IS 'What the day is, for people.';
COMMENT ON COLUMN jobs.calendar IS 'The calendar of its namespace that the job follows; null: none.';
COMMENT ON COLUMN jobs.calendar_rule IS 'What becomes of an instant on a closed date: skip, or next, previous: it runs at the same time of that working day.';
COMMENT ON INDEX jobs_calendars IS 'Serves a change of a calendar: the jobs that follow it.';
COMMENT ON FUNCTION cronsvc_calendar_days(text, text) IS 'What a calendar closes: {dates, weekend}; null when there is none of that name.';
COMMENT ON FUNCTION cronsvc_calendar_changed(bigint) IS 'Has the cursors of the jobs that follow this calendar worked out anew; returns how many.';
COMMENT ON TABLE maintenance_windows IS 'When which jobs shall not run: once, or by a cron expression and a duration.';
COMMENT ON COLUMN maintenance_windows.namespace IS 'Jobs of this namespace only; null: of all. tags and queue narrow it further.';
COMMENT ON COLUMN maintenance_windows.tags IS 'Jobs with any of these tags; empty: whatever their tags.';
COMMENT ON COLUMN maintenance_windows.starts_at IS 'When it opens; of one that recurs: no opening begins before.';
COMMENT ON COLUMN maintenance_windows.ends_at IS 'When it is over; of one that recurs: no opening begins after.';
COMMENT ON COLUMN maintenance_windows.cron_expression IS 'When it opens, again and again, for duration_seconds; null: once.';
COMMENT ON COLUMN maintenance_windows.during IS 'skip: what is due inside becomes SKIPPED (maintenance). hold: it waits for the end.';
COMMENT ON COLUMN maintenance_windows.spread_seconds IS 'What was held is released over this stretch after the end, by a hash of job and instant.';
COMMENT ON COLUMN maintenance_windows.coalesce IS 'Of each job only the latest held execution stays; those before are CANCELLED (replaced).';
COMMENT ON COLUMN maintenance_windows.cancelled_at IS 'Since when it is over before its time.';
COMMENT ON INDEX maintenance_windows_standing IS 'Serves the tick: windows that may be open.';
COMMENT ON COLUMN job_executions.window_id IS 'The maintenance window that skipped or held it.';
COMMENT ON COLUMN job_executions.status_reason IS 'FAILED: error, timeout, lost. SKIPPED: misfire, overlap, paused, calendar, maintenance. CANCELLED: user, replaced.';
COMMENT ON COLUMN job_executions.held IS 'A QUEUED row that waits for something other than time: overlap, limit, queue_paused, or maintenance (until ready_at). Its dispatch_at is null.';
COMMENT ON INDEX job_executions_windows IS 'Serves the release of what maintenance windows hold, and when the next one is.';
COMMENT ON COLUMN cronsvc_v1.jobs.next_fire_time IS 'The next instant the ledger accounts for: it will fire, unless the calendar closes that day. Null when there is none, or when no scheduler has computed it yet (is_armed).';
COMMENT ON VIEW cronsvc_v1.calendars IS 'Calendars, one row for each of their dates (one with a null date for a calendar without).';
COMMENT ON VIEW cronsvc_v1.maintenance_windows IS 'Maintenance windows, past and ahead.';
