-- Ending and beginning again: cancel, retry, dead letters.

ALTER TABLE job_executions
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN cancel_requested_by text,
    ADD COLUMN cancel_reason text,
    ADD COLUMN cancel_note text,
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN resolved_by text,
    ADD COLUMN resolve_note text,
    ADD CONSTRAINT job_executions_cancel_reasoned CHECK (cancel_requested_at IS NULL OR (cancel_requested_by IS NOT NULL AND cancel_reason IS NOT NULL)),
    ADD CONSTRAINT job_executions_resolved_whole CHECK (num_nulls(resolved_at, resolved_by, resolve_note) IN (0, 3)),
    ADD CONSTRAINT job_executions_resolved_failed CHECK (resolved_at IS NULL OR status = 'FAILED');

CREATE INDEX job_executions_dead ON job_executions (scheduled_time, id) WHERE status = 'FAILED' AND resolved_at IS NULL;

CREATE OR REPLACE VIEW cronsvc_v1.executions AS
SELECT e.id, e.job_id, j.namespace, j.name AS job_name, e.scheduled_time, e.trigger, e.status, e.status_reason, e.revision, e.queue, e.priority,
       e.attempt, e.max_attempts, e.worker_id, e.created_at AS queued_at, e.ready_at, e.dispatches, e.start_time, e.end_time,
       extract(epoch FROM e.end_time - e.start_time) * 1000 AS duration_ms,
       extract(epoch FROM e.start_time - e.scheduled_time) AS lateness_seconds,
       e.previous_time, e.skipped_until, e.skipped_count, e.requested_by, e.progress, e.result, e.error, e.log_details,
       e.cancel_requested_at, e.cancel_requested_by, e.cancel_note, e.resolved_at, e.resolved_by, e.resolve_note
  FROM public.job_executions e JOIN public.jobs j ON j.id = e.job_id;

COMMENT ON COLUMN job_executions.status IS 'QUEUED, RUNNING, SUCCESS, FAILED, SKIPPED or CANCELLED. The last four have ended: SKIPPED for good, the others until a person asks for a retry.';
COMMENT ON COLUMN job_executions.max_attempts IS 'How far attempt may go. A retry that a person asked for moves it on by the budget of the job.';
COMMENT ON COLUMN job_executions.revision IS 'The definition it runs, in job_revisions; pinned when the row was written, and again when a person retried it.';
COMMENT ON COLUMN job_executions.end_time IS 'When it reached its final status, the last time it did.';
COMMENT ON COLUMN job_executions.cancel_requested_at IS 'Since when it shall end. While it still runs, its worker has not stopped it yet.';
COMMENT ON COLUMN job_executions.cancel_requested_by IS 'Who asked for the end.';
COMMENT ON COLUMN job_executions.cancel_reason IS 'The status_reason it gets once it is CANCELLED.';
COMMENT ON COLUMN job_executions.cancel_note IS 'Why, in the words of who asked.';
COMMENT ON COLUMN job_executions.resolved_at IS 'On a FAILED row: since when it is no dead letter any more.';
COMMENT ON COLUMN job_executions.resolved_by IS 'Who resolved it.';
COMMENT ON COLUMN job_executions.resolve_note IS 'What was done about it.';
COMMENT ON INDEX job_executions_dead IS 'Serves the list of dead letters, latest first, and their number.';
COMMENT ON COLUMN cronsvc_v1.executions.cancel_requested_at IS 'Since when it shall end; set on a RUNNING row until its worker has stopped it.';
COMMENT ON COLUMN cronsvc_v1.executions.resolved_at IS 'A FAILED row with null here is a dead letter.';
