-- Backfill of a window and recovery after an outage.

CREATE TABLE recoveries (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespaces   text[],
    window_from  timestamptz NOT NULL,
    window_to    timestamptz NOT NULL,
    selector     jsonb NOT NULL,
    direction    text NOT NULL,
    max_parallel integer NOT NULL,
    max_total    integer NOT NULL,
    status       text NOT NULL DEFAULT 'running',
    note         text,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    CONSTRAINT recoveries_window CHECK (window_from <= window_to),
    CONSTRAINT recoveries_direction_known CHECK (direction IN ('oldest', 'newest')),
    CONSTRAINT recoveries_parallel_bounded CHECK (max_parallel BETWEEN 1 AND 100 AND max_total BETWEEN 1 AND 1000),
    CONSTRAINT recoveries_status_known CHECK (status IN ('running', 'finished', 'cancelled'))
);

CREATE TABLE backfills (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id       bigint NOT NULL REFERENCES jobs (id),
    recovery_id  bigint REFERENCES recoveries (id),
    revision     integer NOT NULL,
    window_from  timestamptz NOT NULL,
    window_to    timestamptz NOT NULL,
    mode         text NOT NULL,
    direction    text NOT NULL,
    max_parallel integer NOT NULL,
    params       jsonb,
    note         text,
    status       text NOT NULL DEFAULT 'running',
    reached      timestamptz,
    exhausted    boolean NOT NULL DEFAULT false,
    planned      integer NOT NULL,
    started      integer NOT NULL DEFAULT 0,
    left_alone   integer NOT NULL DEFAULT 0,
    final_counts jsonb,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    CONSTRAINT backfills_window CHECK (window_from <= window_to),
    CONSTRAINT backfills_mode_known CHECK (mode IN ('missing', 'all', 'missed')),
    CONSTRAINT backfills_direction_known CHECK (direction IN ('oldest', 'newest')),
    CONSTRAINT backfills_parallel_bounded CHECK (max_parallel BETWEEN 1 AND 100),
    CONSTRAINT backfills_status_known CHECK (status IN ('running', 'paused', 'finished', 'cancelled')),
    CONSTRAINT backfills_steps_counted CHECK (started >= 0 AND left_alone >= 0)
);
CREATE INDEX backfills_open ON backfills (id) WHERE final_counts IS NULL;
CREATE INDEX backfills_job ON backfills (job_id, id);
CREATE INDEX backfills_recovery ON backfills (recovery_id) WHERE recovery_id IS NOT NULL;

ALTER TABLE job_executions ADD COLUMN backfill_id bigint;
CREATE INDEX job_executions_backfill ON job_executions (backfill_id, status) WHERE backfill_id IS NOT NULL;

CREATE OR REPLACE VIEW cronsvc_v1.executions AS
SELECT e.id, e.job_id, j.namespace, j.name AS job_name, e.scheduled_time, e.trigger, e.status, e.status_reason, e.revision, e.queue, e.priority,
       e.attempt, e.max_attempts, e.worker_id, e.created_at AS queued_at, e.ready_at, e.dispatches, e.start_time, e.end_time,
       extract(epoch FROM e.end_time - e.start_time) * 1000 AS duration_ms,
       extract(epoch FROM e.start_time - e.scheduled_time) AS lateness_seconds,
       e.previous_time, e.skipped_until, e.skipped_count, e.requested_by, e.progress, e.result, e.error, e.log_details,
       e.cancel_requested_at, e.cancel_requested_by, e.cancel_note, e.resolved_at, e.resolved_by, e.resolve_note, e.deadline_at, e.backfill_id
  FROM public.job_executions e JOIN public.jobs j ON j.id = e.job_id;

CREATE VIEW cronsvc_v1.recoveries AS
SELECT id, namespaces, window_from, window_to, selector, direction, max_parallel, max_total, status, note, created_by, created_at, finished_at
  FROM public.recoveries;

CREATE VIEW cronsvc_v1.backfills AS
SELECT b.id, b.job_id, j.namespace, j.name AS job_name, b.recovery_id, b.revision, b.window_from, b.window_to, b.mode, b.direction,
       b.max_parallel, b.note, b.status, b.planned, b.started, b.left_alone, b.final_counts, b.created_by, b.created_at, b.finished_at
  FROM public.backfills b JOIN public.jobs j ON j.id = b.job_id;

-- A backfill may write rows from before the first one that the schedule wrote: that makes no gap of what was forgotten in between.
CREATE OR REPLACE VIEW cronsvc_v1.gaps AS
SELECT e.job_id, j.namespace, j.name AS job_name, e.previous_time AS missing_time, e.scheduled_time AS seen_from
  FROM public.job_executions e JOIN public.jobs j ON j.id = e.job_id
 WHERE e.trigger = 'schedule' AND e.previous_time IS NOT NULL
   AND (SELECT count(*) FROM public.job_executions p WHERE p.job_id = e.job_id AND p.scheduled_time = e.previous_time) = 0
   AND e.previous_time IS DISTINCT FROM
       (SELECT p.skipped_until FROM public.job_executions p
         WHERE p.job_id = e.job_id AND p.scheduled_time < e.previous_time AND p.trigger = 'schedule'
         ORDER BY p.scheduled_time DESC LIMIT 1)
   AND e.previous_time >= (SELECT min(o.scheduled_time) FROM public.job_executions o WHERE o.job_id = e.job_id AND o.trigger = 'schedule');

COMMENT ON TABLE recoveries IS 'One row for each recovery after an outage: what was asked for, and the bound that its backfills share.';
COMMENT ON COLUMN recoveries.namespaces IS 'Whose jobs it may touch; null is everything.';
COMMENT ON COLUMN recoveries.selector IS 'Which jobs were meant: {namespace, tags, queue, namePrefix, jobIds}, each of them optional.';
COMMENT ON COLUMN recoveries.max_parallel IS 'Unfinished executions that each of its backfills may have.';
COMMENT ON COLUMN recoveries.max_total IS 'Unfinished executions that all of its backfills may have together.';
COMMENT ON TABLE backfills IS 'One row for each backfill: a window of a job whose past instants are run on purpose, a few at a time.';
COMMENT ON COLUMN backfills.recovery_id IS 'The recovery that made it, if one did.';
COMMENT ON COLUMN backfills.revision IS 'The definition that names the instants and is run, in job_revisions.';
COMMENT ON COLUMN backfills.window_from IS 'The first moment of the window; the last one is window_to. Both belong to it.';
COMMENT ON COLUMN backfills.mode IS 'missing: instants without a row or with a SKIPPED one. all: those that have ended, too. missed (recoveries): without a row or skipped as misfires.';
COMMENT ON COLUMN backfills.direction IS 'Which end of the window comes first: oldest or newest.';
COMMENT ON COLUMN backfills.max_parallel IS 'So many of its executions may be unfinished at a time.';
COMMENT ON COLUMN backfills.params IS 'Laid over the config of the job in every execution.';
COMMENT ON COLUMN backfills.status IS 'running, paused, finished or cancelled.';
COMMENT ON COLUMN backfills.reached IS 'Its own cursor: the last instant that was decided. Moves in the transaction that writes the executions.';
COMMENT ON COLUMN backfills.exhausted IS 'Every instant of the window has been decided; executions may still be unfinished.';
COMMENT ON COLUMN backfills.planned IS 'Instants in the window.';
COMMENT ON COLUMN backfills.started IS 'Instants decided so far that became executions.';
COMMENT ON COLUMN backfills.left_alone IS 'Instants decided so far that were not touched.';
COMMENT ON COLUMN backfills.final_counts IS 'How its executions had ended when the last of them had; until then they are counted.';
COMMENT ON INDEX backfills_open IS 'Serves the schedulers: which backfills may have something to do.';
COMMENT ON INDEX backfills_job IS 'Serves the backfills of a job.';
COMMENT ON INDEX backfills_recovery IS 'Serves the backfills of a recovery.';
COMMENT ON COLUMN job_executions.backfill_id IS 'The backfill that wrote it, or made a run of it.';
COMMENT ON COLUMN job_executions.skipped_until IS 'On a SKIPPED row: it stands for every instant from scheduled_time up to this one that has no row of its own.';
COMMENT ON COLUMN job_executions.skipped_count IS 'How many instants lie in a range, those that a backfill gave rows of their own included; null: not counted, very many.';
COMMENT ON INDEX job_executions_backfill IS 'Serves the progress of backfills: how many of their executions are in which status.';
COMMENT ON VIEW cronsvc_v1.recoveries IS 'Recoveries after outages.';
COMMENT ON VIEW cronsvc_v1.backfills IS 'Backfills and how far they are; executions.backfill_id leads to what they run.';
COMMENT ON COLUMN job_executions.status IS 'QUEUED, RUNNING, SUCCESS, FAILED, SKIPPED or CANCELLED. The last four have ended, until a person asks: a retry or a backfill runs the row again.';
COMMENT ON COLUMN job_executions.params IS 'Of a manual run or a backfill: laid over the config of the job for this one execution.';
COMMENT ON COLUMN job_executions.requested_by IS 'Who asked for a manual run or a backfill.';
COMMENT ON COLUMN job_executions.revision IS 'The definition it runs, in job_revisions; pinned when the row was written, and again when a person had it run again.';
