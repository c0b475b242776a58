-- Retry options, pause on failure, retention and statistics.

ALTER TABLE jobs
    ADD COLUMN retry_on text[],
    ADD COLUMN deadline_seconds integer,
    ADD COLUMN pause_after_failures integer,
    ADD COLUMN consecutive_failures integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT jobs_deadline_bounded CHECK (deadline_seconds BETWEEN 1 AND 31622400),
    ADD CONSTRAINT jobs_pause_after_failures_bounded CHECK (pause_after_failures BETWEEN 1 AND 1000);

CREATE INDEX jobs_history_bounded ON jobs (id)
    WHERE (retention ->> 'keepCompleted') IS NOT NULL OR (retention ->> 'keepFailed') IS NOT NULL OR (retention ->> 'days') IS DISTINCT FROM '90';

ALTER TABLE job_executions ADD COLUMN deadline_at timestamptz;
CREATE INDEX job_executions_deadlines ON job_executions (deadline_at) WHERE status = 'QUEUED' AND deadline_at IS NOT NULL;
CREATE INDEX job_executions_failed ON job_executions (job_id, scheduled_time) WHERE status = 'FAILED';

CREATE TABLE job_statistics (
    job_id          bigint NOT NULL,
    day             date NOT NULL,
    trigger         text NOT NULL,
    success         bigint NOT NULL,
    failed          bigint NOT NULL,
    skipped         bigint NOT NULL,
    cancelled       bigint NOT NULL,
    attempts        bigint NOT NULL,
    duration_ms_sum bigint NOT NULL,
    duration_ms_min bigint,
    duration_ms_max bigint,
    first_time      timestamptz NOT NULL,
    last_time       timestamptz NOT NULL,
    PRIMARY KEY (job_id, day, trigger)
) WITH (fillfactor = 70);

CREATE OR REPLACE FUNCTION cronsvc_definition(job jobs) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$$ SELECT to_jsonb(job) - ARRAY['next_fire_time', 'last_fire_time', 'fire_count', 'revision', 'armed_revision', 'tzdata_version',
        'quarantine_reason', 'paused_at', 'paused_by', 'pause_note', 'paused_until', 'created_at', 'updated_at', 'shard',
        'consecutive_failures'] $$;

DROP TRIGGER jobs_stamp ON jobs;
CREATE TRIGGER jobs_stamp BEFORE UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_stamp();
DROP TRIGGER jobs_record_update ON jobs;
CREATE TRIGGER jobs_record_update AFTER UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures, paused_at
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_record();

CREATE FUNCTION cronsvc_jobs_resumed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.consecutive_failures := 0;
    RETURN NEW;
END $$;
CREATE TRIGGER jobs_resumed BEFORE UPDATE OF paused_at ON jobs FOR EACH ROW
    WHEN (OLD.paused_at IS NOT NULL AND NEW.paused_at IS NULL) EXECUTE FUNCTION cronsvc_jobs_resumed();

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
       retry_on, deadline_seconds, pause_after_failures, consecutive_failures
  FROM public.jobs WHERE deleted_at IS NULL;

CREATE OR REPLACE VIEW cronsvc_v1.executions AS
SELECT e.id, e.job_id, j.namespace, j.name AS job_name, e.scheduled_time, e.trigger, e.status, e.status_reason, e.revision, e.queue, e.priority,
       e.attempt, e.max_attempts, e.worker_id, e.created_at AS queued_at, e.ready_at, e.dispatches, e.start_time, e.end_time,
       extract(epoch FROM e.end_time - e.start_time) * 1000 AS duration_ms,
       extract(epoch FROM e.start_time - e.scheduled_time) AS lateness_seconds,
       e.previous_time, e.skipped_until, e.skipped_count, e.requested_by, e.progress, e.result, e.error, e.log_details,
       e.cancel_requested_at, e.cancel_requested_by, e.cancel_note, e.resolved_at, e.resolved_by, e.resolve_note, e.deadline_at
  FROM public.job_executions e JOIN public.jobs j ON j.id = e.job_id;

CREATE VIEW cronsvc_v1.statistics AS
SELECT s.job_id, j.namespace, j.name AS job_name, s.day, s.trigger, sum(s.success)::bigint AS success, sum(s.failed)::bigint AS failed,
       sum(s.skipped)::bigint AS skipped, sum(s.cancelled)::bigint AS cancelled, sum(s.attempts)::bigint AS attempts,
       sum(s.duration_ms_sum)::bigint AS duration_ms_sum, min(s.duration_ms_min) AS duration_ms_min, max(s.duration_ms_max) AS duration_ms_max
  FROM (SELECT job_id, day, trigger, success, failed, skipped, cancelled, attempts, duration_ms_sum, duration_ms_min, duration_ms_max
          FROM public.job_statistics
         UNION ALL
        SELECT e.job_id, (e.scheduled_time AT TIME ZONE 'UTC')::date, e.trigger, (e.status = 'SUCCESS')::int, (e.status = 'FAILED')::int,
               (e.status = 'SKIPPED')::int, (e.status = 'CANCELLED')::int, e.attempt, coalesce(d.ms, 0), d.ms, d.ms
          FROM public.job_executions e,
               LATERAL (SELECT CASE WHEN e.status = 'SUCCESS' THEN (extract(epoch FROM e.end_time - e.start_time) * 1000)::bigint END AS ms) AS d
         WHERE e.status IN ('SUCCESS', 'FAILED', 'SKIPPED', 'CANCELLED')) AS s
  JOIN public.jobs j ON j.id = s.job_id
 GROUP BY s.job_id, j.namespace, j.name, s.day, s.trigger;

COMMENT ON COLUMN jobs.backoff IS 'Pause between attempts: {type: exponential|linear|fixed|list, delaySeconds, factor, delays, maxSeconds, jitter (0..1)}.';
COMMENT ON COLUMN jobs.retention IS '{days, keepCompleted, keepFailed}. days 90 is what the operator decided, and then whole weeks are dropped; another number is the job''s own. The counts keep the newest SUCCESS and FAILED rows.';
COMMENT ON COLUMN jobs.retry_on IS 'Failures worth another attempt: error types, or type:status for one answer (http_status:503). Null: what the job type calls retryable.';
COMMENT ON COLUMN jobs.deadline_seconds IS 'Budget of a whole execution, counted from when it first became ready; null is none.';
COMMENT ON COLUMN jobs.pause_after_failures IS 'So many FAILED executions in a row pause the job; null: never.';
COMMENT ON COLUMN jobs.consecutive_failures IS 'FAILED executions since the last SUCCESS or the last resume, counted while pause_after_failures is set.';
COMMENT ON INDEX jobs_history_bounded IS 'Serves pruning: the jobs that keep fewer rows than everybody.';
COMMENT ON COLUMN job_executions.previous_time IS 'The instant of the schedule recorded before this one, or before those that were pruned between; see cronsvc_v1.gaps.';
COMMENT ON COLUMN job_executions.deadline_at IS 'No attempt begins after this moment, and one that runs is cut; null is no deadline.';
COMMENT ON INDEX job_executions_deadlines IS 'Serves the end of waiting rows whose deadline has passed.';
COMMENT ON INDEX job_executions_failed IS 'Serves keepFailed: the newest failures of a job among any number of successes.';
COMMENT ON TABLE job_statistics IS 'What is left of executions whose rows are gone, by job, day (UTC, of scheduled_time) and trigger. A row is added here in the transaction that deletes it.';
COMMENT ON COLUMN job_statistics.attempts IS 'Tries, the first ones included.';
COMMENT ON COLUMN job_statistics.duration_ms_sum IS 'Of the successful executions: how long their last attempts took together.';
COMMENT ON COLUMN job_statistics.first_time IS 'The earliest instant counted here.';
COMMENT ON COLUMN job_statistics.last_time IS 'The latest instant counted here: whatever had its row is not missing, though there is none.';
COMMENT ON FUNCTION cronsvc_jobs_resumed() IS 'Trigger: a job that is resumed starts counting its failures anew.';
COMMENT ON COLUMN cronsvc_v1.executions.deadline_at IS 'No attempt begins after this moment.';
COMMENT ON VIEW cronsvc_v1.statistics IS 'Executions that have ended, by job, day (UTC) and trigger, whether their rows are kept or gone. Bound job_id.';
COMMENT ON COLUMN cronsvc_v1.statistics.duration_ms_sum IS 'Of the successful ones: how long their last attempts took together.';
