-- Queues that people steer (pause, limits, audited), and triggers that may be repeated without running twice.

-- Rows of a paused queue that came due for dispatch are parked: held is set and dispatch_at is null.
CREATE INDEX job_executions_parked ON job_executions (queue) WHERE status = 'QUEUED' AND held = 'queue_paused';

ALTER TABLE queues ADD COLUMN calling_in boolean NOT NULL DEFAULT false;

-- Whether nothing of this queue may begin at this moment. A pause that has reached its end holds nothing back.
CREATE FUNCTION cronsvc_queue_paused(queue text) RETURNS boolean LANGUAGE sql STABLE AS
$$ SELECT EXISTS (SELECT FROM queues AS q WHERE q.name = $1 AND q.paused_at IS NOT NULL
                     AND (q.paused_until IS NULL OR q.paused_until > clock_timestamp())) $$;

-- The row of a queue as the audit log keeps it.
CREATE FUNCTION cronsvc_queue_settings(queue queues) RETURNS jsonb LANGUAGE sql STABLE AS
$$ SELECT to_jsonb(queue) - ARRAY['name', 'created_at', 'calling_in', 'tokens', 'tokens_at'] $$;

CREATE FUNCTION cronsvc_queues_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.paused_at IS NULL THEN
        NEW.paused_by := NULL;
        NEW.pause_note := NULL;
        NEW.paused_until := NULL;
        NEW.calling_in := NEW.calling_in OR OLD.paused_at IS NOT NULL;
    ELSE
        NEW.paused_by := coalesce(NEW.paused_by, cronsvc_actor());
        NEW.calling_in := false;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION cronsvc_queues_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF cronsvc_queue_settings(NEW) IS NOT DISTINCT FROM cronsvc_queue_settings(OLD) THEN
        RETURN NULL;
    END IF;
    INSERT INTO audit_log (actor, source, action, entity, entity_id, before, after)
    VALUES (cronsvc_actor(), nullif(current_setting('cronsvc.source', true), ''),
            CASE WHEN (NEW.paused_at, NEW.pause_note, NEW.paused_until) IS NOT DISTINCT FROM (OLD.paused_at, OLD.pause_note, OLD.paused_until) THEN 'update'
                 WHEN NEW.paused_at IS NULL THEN 'resume'
                 ELSE 'pause' END,
            'queue', NEW.name, cronsvc_queue_settings(OLD), cronsvc_queue_settings(NEW));
    PERFORM pg_notify('cronsvc_wake', '');
    RETURN NULL;
END $$;

CREATE TRIGGER queues_stamp BEFORE UPDATE OF paused_at, paused_by, pause_note, paused_until
    ON queues FOR EACH ROW EXECUTE FUNCTION cronsvc_queues_stamp();
CREATE TRIGGER queues_record AFTER UPDATE OF paused_at, paused_by, pause_note, paused_until, concurrency, rate_per_minute
    ON queues FOR EACH ROW EXECUTE FUNCTION cronsvc_queues_record();

CREATE TABLE trigger_keys (
    job_id         bigint NOT NULL REFERENCES jobs (id),
    key_hash       bytea NOT NULL,
    request_hash   bytea NOT NULL,
    execution_id   bigint,
    scheduled_time timestamptz,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, key_hash)
);
CREATE INDEX trigger_keys_created ON trigger_keys (created_at);

CREATE OR REPLACE VIEW cronsvc_v1.queues AS
SELECT name, paused_at, paused_by, pause_note, paused_until, concurrency, rate_per_minute, created_at,
       paused_at IS NOT NULL AND (paused_until IS NULL OR paused_until > clock_timestamp()) AS is_paused
  FROM public.queues;

COMMENT ON INDEX job_executions_parked IS 'Serves the end of a queue''s pause: what it held back.';
COMMENT ON TABLE queues IS 'The queues that jobs have named or an administrator has made. Pausing one by SQL is supported.';
COMMENT ON COLUMN queues.paused_at IS 'Set while the queue is paused: nothing of it is claimed, what runs goes on.';
COMMENT ON COLUMN queues.paused_until IS 'When the pause ends by itself; null: when somebody resumes the queue.';
COMMENT ON COLUMN queues.concurrency IS 'At most so many of its executions run at a time; null is no limit.';
COMMENT ON COLUMN queues.rate_per_minute IS 'At most so many of its executions begin in a minute; null is no limit.';
COMMENT ON COLUMN queues.calling_in IS 'Its pause has ended and a scheduler is dispatching what it held back.';
COMMENT ON TABLE trigger_keys IS 'Idempotency keys of manual runs, for 24 hours: the same key again answers with the same execution.';
COMMENT ON COLUMN trigger_keys.key_hash IS 'SHA-256 of the key.';
COMMENT ON COLUMN trigger_keys.request_hash IS 'SHA-256 of the params it came with; other params under the same key are refused.';
COMMENT ON COLUMN trigger_keys.execution_id IS 'What it started; set in the transaction that wrote the key.';
COMMENT ON INDEX trigger_keys_created IS 'Serves forgetting keys after 24 hours.';
COMMENT ON FUNCTION cronsvc_queue_paused(text) IS 'Whether nothing of this queue may begin at this moment.';
COMMENT ON FUNCTION cronsvc_queue_settings(queues) IS 'A row of queues as the audit log keeps it.';
COMMENT ON FUNCTION cronsvc_queues_stamp() IS 'Trigger: keeps the columns of a pause together, and marks a queue whose pause has ended.';
COMMENT ON FUNCTION cronsvc_queues_record() IS 'Trigger: writes audit_log for a change of a queue, and wakes the schedulers.';
COMMENT ON VIEW cronsvc_v1.queues IS 'The queues there are, with pause and limits.';
COMMENT ON COLUMN cronsvc_v1.queues.is_paused IS 'Nothing of it begins now; false as soon as paused_until has passed.';
