-- Overlap, concurrency and queue limits.

ALTER TABLE jobs
    ADD COLUMN max_concurrency integer,
    ADD COLUMN concurrency_key varchar(200),
    DROP CONSTRAINT jobs_overlap_policy_known,
    ADD CONSTRAINT jobs_overlap_policy_known CHECK (overlap_policy IN
        ('allow', 'skip', 'buffer_one', 'buffer_all', 'cancel_other', 'terminate_other')),
    ADD CONSTRAINT jobs_max_concurrency_bounded CHECK (max_concurrency BETWEEN 1 AND 10000),
    ADD CONSTRAINT jobs_concurrency_key_limited CHECK (concurrency_key IS NULL OR (concurrency_key <> '' AND max_concurrency IS NOT NULL));

CREATE INDEX jobs_concurrency_keys ON jobs (namespace, concurrency_key) WHERE concurrency_key IS NOT NULL;

ALTER TABLE job_executions ADD COLUMN held text;
CREATE INDEX job_executions_unfinished ON job_executions (job_id) WHERE status = 'QUEUED' OR status = 'RUNNING';
CREATE INDEX job_executions_held ON job_executions (job_id, scheduled_time) WHERE held = 'overlap' OR held = 'limit';

-- Executions of the same scope share one limit; null: none.
CREATE FUNCTION cronsvc_scope(job jobs) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN job.max_concurrency IS NULL THEN NULL
               WHEN job.concurrency_key IS NULL THEN 'job:' || job.id
               ELSE 'key:' || job.namespace || '/' || job.concurrency_key END $$;

CREATE TABLE limit_scopes (scope text PRIMARY KEY);

ALTER TABLE queues
    ADD COLUMN tokens double precision,
    ADD COLUMN tokens_at timestamptz;

DROP TRIGGER jobs_stamp ON jobs;
CREATE TRIGGER jobs_stamp BEFORE UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures, max_concurrency, concurrency_key
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_stamp();
DROP TRIGGER jobs_record_update ON jobs;
CREATE TRIGGER jobs_record_update AFTER UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures, max_concurrency, concurrency_key, paused_at
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_record();

COMMENT ON COLUMN jobs.overlap_policy IS 'When the job is due and an earlier execution is unfinished: allow, skip, buffer_one, buffer_all, cancel_other or terminate_other.';
COMMENT ON COLUMN jobs.max_concurrency IS 'At most so many of its executions run at a time; null is no limit.';
COMMENT ON COLUMN jobs.concurrency_key IS 'Jobs of one namespace with the same key share the limit of each; null: the job counts alone.';
COMMENT ON INDEX jobs_concurrency_keys IS 'Serves counting what runs under a key.';
COMMENT ON COLUMN job_executions.held IS 'A QUEUED row that waits for something other than time: overlap, limit or queue_paused. Its dispatch_at is null.';
COMMENT ON INDEX job_executions_unfinished IS 'Serves the question whether a job has anything unfinished.';
COMMENT ON INDEX job_executions_held IS 'Serves the release of what waits for others to end, and whether there is any.';
COMMENT ON FUNCTION cronsvc_scope(jobs) IS 'The name under which executions of this job are counted against max_concurrency.';
COMMENT ON TABLE limit_scopes IS 'One row for each scope in use, to be locked while its executions are counted and claimed.';
COMMENT ON COLUMN queues.tokens IS 'How many executions may begin at once, as of tokens_at; book-keeping of rate_per_minute.';
COMMENT ON COLUMN queues.tokens_at IS 'When tokens was worked out.';
