-- Executions whose target ends them later, by a signed call.

-- Such a row has left its worker: worker_id is null while it waits, so that no rescue, of the previous release neither,
-- takes it for the work of a dead worker. Waiting is: RUNNING, worker_id null, callback_due set.
ALTER TABLE job_executions
    ADD COLUMN callback_since timestamptz,
    ADD COLUMN callback_due timestamptz,
    ADD COLUMN callback_until timestamptz,
    ADD COLUMN callback_heartbeat integer,
    ADD COLUMN callback_worker uuid;

CREATE INDEX job_executions_callbacks ON job_executions (callback_due) WHERE status = 'RUNNING' AND callback_due IS NOT NULL;

-- What tokens are signed with. The default is the only way to make one: 366 random bits from Postgres, as 32 bytes.
CREATE TABLE callback_keys (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret     bytea NOT NULL DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT callback_keys_strong CHECK (octet_length(secret) = 32)
);
REVOKE ALL ON callback_keys FROM PUBLIC;
INSERT INTO callback_keys DEFAULT VALUES;

CREATE VIEW cronsvc_v1.callbacks AS
SELECT e.id AS execution_id, e.job_id, j.namespace, j.name AS job_name, e.scheduled_time, e.attempt, e.start_time,
       e.callback_since AS waiting_since, e.callback_heartbeat AS heartbeat_seconds, e.callback_due AS heartbeat_due,
       e.callback_until AS end_due, e.progress, e.cancel_requested_at
  FROM public.job_executions e JOIN public.jobs j ON j.id = e.job_id
 WHERE e.status = 'RUNNING' AND e.callback_due IS NOT NULL AND e.worker_id IS NULL;

COMMENT ON COLUMN job_executions.worker_id IS 'The worker that holds it, or the last one that did; null while it waits for its target''s call.';
COMMENT ON COLUMN job_executions.callback_since IS 'Since when a RUNNING row waits for its target''s call, its worker long free.';
COMMENT ON COLUMN job_executions.callback_due IS 'If the target has not called by then, the attempt is over.';
COMMENT ON COLUMN job_executions.callback_until IS 'The attempt is over by then, however often the target calls.';
COMMENT ON COLUMN job_executions.callback_heartbeat IS 'So many seconds may lie between two calls of the target.';
COMMENT ON COLUMN job_executions.callback_worker IS 'The worker that sent the request.';
COMMENT ON INDEX job_executions_callbacks IS 'Serves the end of attempts whose target keeps silent.';
COMMENT ON TABLE callback_keys IS 'What callback tokens are signed with: the newest signs, all verify. INSERT INTO callback_keys DEFAULT VALUES makes a new one; deleting one revokes its tokens.';
COMMENT ON COLUMN callback_keys.id IS 'Stands in each token, so that several keys can be in force.';
COMMENT ON COLUMN callback_keys.secret IS '32 random bytes; shown by no view.';
COMMENT ON VIEW cronsvc_v1.callbacks IS 'Executions that wait for their target''s call: since when, and when silence ends them.';
