-- Jobs that run after other jobs, and children that an execution starts.

ALTER TABLE jobs ADD COLUMN depends_on jsonb;

-- What depends_on names, kept by a trigger: who waits for the end of a job is one look-up. No foreign keys, because a
-- look at the other job's row would wait for whoever edits it; jobs are never deleted for real.
CREATE TABLE job_dependencies (
    upstream_id bigint NOT NULL,
    job_id      bigint NOT NULL,
    PRIMARY KEY (upstream_id, job_id)
);
CREATE INDEX job_dependencies_job ON job_dependencies (job_id);

-- The ends that a round of `all` has seen and not used yet: the latest of each upstream.
CREATE TABLE dependency_rounds (
    job_id       bigint NOT NULL,
    upstream_id  bigint NOT NULL,
    end_id       bigint NOT NULL,
    cause        jsonb NOT NULL,
    is_met       boolean NOT NULL,
    ended_at     timestamptz NOT NULL,
    PRIMARY KEY (job_id, upstream_id)
);

ALTER TABLE job_executions
    ADD COLUMN causes jsonb,
    ADD COLUMN parent_id bigint,
    ADD COLUMN parent_job_id bigint,
    ADD COLUMN parent_time timestamptz,
    ADD COLUMN child_key text,
    ADD COLUMN children integer NOT NULL DEFAULT 0,
    ADD COLUMN children_tolerated integer,
    ADD COLUMN announced_claim integer,
    ADD COLUMN run_again_at timestamptz;

CREATE INDEX job_executions_children ON job_executions (parent_id, status, id) WHERE parent_id IS NOT NULL;
CREATE INDEX job_executions_parents ON job_executions (deadline_at) WHERE status = 'RUNNING' AND held = 'children';

-- Ends that somebody waits for, on their way: written by the statement that ends an execution, taken and deleted by the
-- transaction that acts on them. So neither a crash nor a second scheduler loses or doubles one.
CREATE TABLE execution_ends (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    execution_id   bigint NOT NULL,
    job_id         bigint NOT NULL,
    scheduled_time timestamptz NOT NULL,
    status         text NOT NULL,
    status_reason  text,
    result         jsonb,
    children       integer NOT NULL DEFAULT 0,
    parent_job_id  bigint,
    parent_time    timestamptz,
    ended_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    after_job_id   bigint NOT NULL DEFAULT 0
);

-- What ends a row without saying so itself (anything but a worker's finish) is caught here. A finish looks who waits in its
-- own statement and marks the row with its claim, so that by far the most ends cost no call of this function.
CREATE FUNCTION cronsvc_executions_ended() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.parent_job_id IS NOT NULL OR NEW.children > 0
       OR EXISTS (SELECT FROM job_dependencies AS d WHERE d.upstream_id = NEW.job_id) THEN
        INSERT INTO execution_ends (execution_id, job_id, scheduled_time, status, status_reason, result, children, parent_job_id, parent_time)
        VALUES (NEW.id, NEW.job_id, NEW.scheduled_time, NEW.status, NEW.status_reason, NEW.result, NEW.children, NEW.parent_job_id, NEW.parent_time);
        PERFORM pg_notify('cronsvc_wake', '');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER job_executions_ended AFTER UPDATE OF status ON job_executions FOR EACH ROW
    WHEN (OLD.status IN ('QUEUED', 'RUNNING') AND NEW.status IN ('SUCCESS', 'FAILED', 'CANCELLED')
          AND (OLD.status = 'QUEUED' OR OLD.held IS NOT NULL OR NEW.announced_claim IS DISTINCT FROM NEW.claim_no))
    EXECUTE FUNCTION cronsvc_executions_ended();

-- What is wrong with the shape of depends_on, as far as the database needs to know it; null: nothing.
CREATE FUNCTION cronsvc_dependency_fault(depends_on jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE
       WHEN depends_on IS NULL THEN NULL
       WHEN jsonb_typeof(depends_on) <> 'object' THEN 'is an object with mode and on'
       WHEN coalesce(depends_on ->> 'mode', 'all') NOT IN ('all', 'any') THEN 'mode is all or any'
       WHEN jsonb_typeof(depends_on -> 'on') IS DISTINCT FROM 'array' THEN 'on is a list of jobs to wait for'
       WHEN jsonb_array_length(depends_on -> 'on') NOT BETWEEN 1 AND 20 THEN 'on lists 1 to 20 jobs'
       WHEN EXISTS (SELECT FROM jsonb_array_elements(depends_on -> 'on') AS o(one)
                     WHERE jsonb_typeof(one -> 'jobId') IS DISTINCT FROM 'number' OR (one ->> 'jobId') !~ '^[1-9][0-9]{0,17}$')
           THEN 'each of on names a live job of the namespace, by jobId or job'
       END $$;

-- BEFORE a change, after cronsvc_jobs_stamp: names become ids, and what cannot be read sets the job aside.
CREATE FUNCTION cronsvc_jobs_wait() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    fault text;
BEGIN
    IF jsonb_path_exists(NEW.depends_on, 'lax $.on[*].job', silent => true) THEN
        SELECT jsonb_set(NEW.depends_on, '{on}', jsonb_agg(
                   CASE WHEN one ? 'job' AND NOT one ? 'jobId' AND j.id IS NOT NULL
                        THEN (one - 'job') || jsonb_build_object('jobId', j.id) ELSE one END ORDER BY place))
          INTO NEW.depends_on
          FROM jsonb_array_elements(NEW.depends_on -> 'on') WITH ORDINALITY AS o(one, place)
          LEFT JOIN jobs AS j ON j.namespace = NEW.namespace AND j.name = one ->> 'job' AND j.deleted_at IS NULL;
    END IF;
    fault := cronsvc_dependency_fault(NEW.depends_on);
    IF fault IS NOT NULL THEN
        NEW.quarantine_reason := 'depends_on: ' || fault;
    ELSIF TG_OP = 'UPDATE' AND NEW.depends_on IS DISTINCT FROM OLD.depends_on AND NEW.quarantine_reason LIKE 'depends\_on: %' THEN
        NEW.quarantine_reason := NULL;
    END IF;
    RETURN NEW;
END $$;

-- AFTER a change: the edges. One transaction at a time adds any, so of two that would close a circle together the later
-- one sees the earlier. Chains are at most 20 jobs long.
CREATE FUNCTION cronsvc_jobs_connect() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    wanted bigint[] := '{}';
    above integer;
    below integer;
    circle bigint;
    others text;
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.deleted_at IS NOT NULL OR NEW.namespace <> OLD.namespace) THEN
        PERFORM pg_advisory_xact_lock(hashtext('cronsvc'), hashtext('dependencies'));
        SELECT string_agg(d.job_id::text, ', ' ORDER BY d.job_id) INTO others FROM job_dependencies AS d WHERE d.upstream_id = NEW.id;
        IF others IS NOT NULL THEN
            RAISE EXCEPTION 'job % cannot be deleted or moved to another namespace: it is needed by jobs that depend on it (%)', NEW.id, others
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    IF NEW.deleted_at IS NULL AND NEW.depends_on IS NOT NULL AND cronsvc_dependency_fault(NEW.depends_on) IS NULL THEN
        SELECT array_agg(DISTINCT (one ->> 'jobId')::bigint) INTO wanted FROM jsonb_array_elements(NEW.depends_on -> 'on') AS o(one);
    END IF;
    IF wanted = '{}' AND NOT EXISTS (SELECT FROM job_dependencies AS d WHERE d.job_id = NEW.id) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('cronsvc'), hashtext('dependencies'));
    DELETE FROM job_dependencies AS d WHERE d.job_id = NEW.id AND d.upstream_id <> ALL (wanted);
    -- An open round has the verdicts of the definition that was in force.
    IF TG_OP = 'UPDATE' AND NEW.depends_on IS DISTINCT FROM OLD.depends_on THEN
        DELETE FROM dependency_rounds AS r WHERE r.job_id = NEW.id;
    END IF;
    DELETE FROM dependency_rounds AS r WHERE r.job_id = NEW.id AND r.upstream_id <> ALL (wanted);
    IF EXISTS (SELECT FROM unnest(wanted) AS w(id)
                WHERE NOT EXISTS (SELECT FROM jobs AS j WHERE j.id = w.id AND j.namespace = NEW.namespace AND j.deleted_at IS NULL)) THEN
        RAISE EXCEPTION 'depends_on: there is no such job in the namespace %', NEW.namespace USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    WITH RECURSIVE up(id, depth) AS (
        SELECT w, 1 FROM unnest(wanted) AS w
         UNION
        SELECT d.upstream_id, up.depth + 1 FROM up JOIN job_dependencies AS d ON d.job_id = up.id WHERE up.id <> NEW.id AND up.depth < 21
    ) SELECT max(depth), min(id) FILTER (WHERE id = NEW.id) INTO above, circle FROM up;
    IF circle IS NOT NULL THEN
        RAISE EXCEPTION 'depends_on: job % would wait for its own end', NEW.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    WITH RECURSIVE down(id, depth) AS (
        SELECT NEW.id, 0
         UNION
        SELECT d.job_id, down.depth + 1 FROM down JOIN job_dependencies AS d ON d.upstream_id = down.id WHERE down.depth < 21
    ) SELECT max(depth) INTO below FROM down;
    IF above + below + 1 > 20 THEN
        RAISE EXCEPTION 'depends_on: the chain through job % would be longer than 20 jobs', NEW.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO job_dependencies (upstream_id, job_id) SELECT w, NEW.id FROM unnest(wanted) AS w ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER jobs_wait BEFORE INSERT OR UPDATE OF depends_on, namespace ON jobs FOR EACH ROW
    WHEN (NEW.depends_on IS NOT NULL) EXECUTE FUNCTION cronsvc_jobs_wait();
CREATE TRIGGER jobs_wait_no_more BEFORE UPDATE OF depends_on ON jobs FOR EACH ROW
    WHEN (NEW.depends_on IS NULL AND OLD.depends_on IS NOT NULL) EXECUTE FUNCTION cronsvc_jobs_wait();
CREATE TRIGGER jobs_connect_insert AFTER INSERT ON jobs FOR EACH ROW
    WHEN (NEW.depends_on IS NOT NULL) EXECUTE FUNCTION cronsvc_jobs_connect();
CREATE TRIGGER jobs_connect_update AFTER UPDATE OF depends_on, namespace, deleted_at ON jobs FOR EACH ROW
    WHEN (NEW.depends_on IS DISTINCT FROM OLD.depends_on OR NEW.deleted_at IS DISTINCT FROM OLD.deleted_at
          OR NEW.namespace IS DISTINCT FROM OLD.namespace) EXECUTE FUNCTION cronsvc_jobs_connect();

DROP TRIGGER jobs_stamp ON jobs;
CREATE TRIGGER jobs_stamp BEFORE UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures, max_concurrency, concurrency_key, calendar, calendar_rule, depends_on
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_stamp();
DROP TRIGGER jobs_record_update ON jobs;
CREATE TRIGGER jobs_record_update AFTER UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures, max_concurrency, concurrency_key, calendar, calendar_rule, depends_on, paused_at
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_record();

CREATE OR REPLACE VIEW cronsvc_v1.jobs AS
SELECT id, namespace, name, description, tags,
       CASE WHEN NOT is_active THEN 'inactive'
            WHEN quarantine_reason IS NOT NULL THEN 'quarantined'
            WHEN paused_at IS NOT NULL THEN 'paused'
            WHEN next_fire_time IS NULL AND depends_on IS NULL THEN 'ended'
            ELSE 'active' END AS state,
       cron_expression, every_seconds, run_at, timezone, start_at, end_at, max_runs, jitter_seconds, misfire_policy,
       misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority, max_attempts, backoff, timeout_seconds,
       retention, task_payload ->> 'type' AS task_type, is_active, paused_at, paused_by, pause_note, paused_until,
       CASE WHEN is_active AND paused_at IS NULL AND quarantine_reason IS NULL AND armed_revision = revision
            THEN next_fire_time END AS next_fire_time,
       last_fire_time, fire_count, revision, armed_revision = revision AS is_armed, quarantine_reason, created_at, updated_at,
       retry_on, deadline_seconds, pause_after_failures, consecutive_failures, calendar, calendar_rule, depends_on
  FROM public.jobs WHERE deleted_at IS NULL;

CREATE OR REPLACE VIEW cronsvc_v1.executions AS
SELECT e.id, e.job_id, j.namespace, j.name AS job_name, e.scheduled_time, e.trigger, e.status, e.status_reason, e.revision, e.queue, e.priority,
       e.attempt, e.max_attempts, e.worker_id, e.created_at AS queued_at, e.ready_at, e.dispatches, e.start_time, e.end_time,
       extract(epoch FROM e.end_time - e.start_time) * 1000 AS duration_ms,
       extract(epoch FROM e.start_time - e.scheduled_time) AS lateness_seconds,
       e.previous_time, e.skipped_until, e.skipped_count, e.requested_by, e.progress, e.result, e.error, e.log_details,
       e.cancel_requested_at, e.cancel_requested_by, e.cancel_note, e.resolved_at, e.resolved_by, e.resolve_note, e.deadline_at, e.backfill_id,
       e.window_id, e.causes, e.parent_id, e.child_key, e.children
  FROM public.job_executions e JOIN public.jobs j ON j.id = e.job_id;

CREATE VIEW cronsvc_v1.dependencies AS
SELECT d.job_id, j.namespace, j.name AS job_name, d.upstream_id, u.name AS upstream_name, coalesce(j.depends_on ->> 'mode', 'all') AS mode,
       r.ended_at AS waits_with_end_of, r.is_met
  FROM public.job_dependencies d JOIN public.jobs j ON j.id = d.job_id JOIN public.jobs u ON u.id = d.upstream_id
  LEFT JOIN public.dependency_rounds r ON r.job_id = d.job_id AND r.upstream_id = d.upstream_id;

COMMENT ON COLUMN jobs.depends_on IS '{mode: all|any, on: [{jobId or job, when: success|failure|always, condition}]}: the jobs after whose ends it runs; null: none.';
COMMENT ON TABLE job_dependencies IS 'Which job runs after which, from jobs.depends_on; written by its trigger only.';
COMMENT ON INDEX job_dependencies_job IS 'Serves the upstreams of a job, and the search for circles.';
COMMENT ON TABLE dependency_rounds IS 'For jobs that wait for all: the latest end of each upstream since the job was last decided on.';
COMMENT ON COLUMN dependency_rounds.end_id IS 'Which of execution_ends it was; a later one takes its place.';
COMMENT ON COLUMN dependency_rounds.cause IS 'The upstream''s execution as job_executions.causes will name it.';
COMMENT ON TABLE execution_ends IS 'Ends that a dependent job, a parent or children have to hear of; a scheduler deletes each in the transaction that acts on it.';
COMMENT ON COLUMN execution_ends.children IS 'How many children the execution had started; 0 also when they have heard of the end.';
COMMENT ON COLUMN execution_ends.after_job_id IS 'The jobs up to this id that depend on the job have heard of the end: one with very many is acted on in parts.';
COMMENT ON COLUMN job_executions.causes IS 'Of a dependency: the ends that brought it about, [{executionId, jobId, jobName, status, when, isMet, why}].';
COMMENT ON COLUMN job_executions.parent_id IS 'The execution that started it; its key is (parent_job_id, parent_time).';
COMMENT ON COLUMN job_executions.child_key IS 'Among the children of one parent: the same key is started once, however often the parent is tried.';
COMMENT ON COLUMN job_executions.children IS 'How many children it has started.';
COMMENT ON COLUMN job_executions.children_tolerated IS 'Set: it waits for its children when its handler has ended, and so many may end without success.';
COMMENT ON COLUMN job_executions.announced_claim IS 'The claim whose finish has looked who waits for the end; book-keeping of the trigger job_executions_ended.';
COMMENT ON COLUMN job_executions.run_again_at IS 'When it was last let run again after its end; the first start of a child that had failed or been cancelled by then lets that run again, too.';
COMMENT ON COLUMN job_executions.held IS 'A QUEUED row that waits for something other than time: overlap, limit, queue_paused, or maintenance (until ready_at). A RUNNING one: children. Its dispatch_at is null.';
COMMENT ON COLUMN job_executions.status_reason IS 'FAILED: error, timeout, lost. SKIPPED: misfire, overlap, paused, calendar, maintenance, upstream. CANCELLED: user, replaced, parent.';
COMMENT ON INDEX job_executions_children IS 'Serves the children of an execution: which there are, how many have ended.';
COMMENT ON INDEX job_executions_parents IS 'Serves the deadlines of executions that wait for their children.';
COMMENT ON FUNCTION cronsvc_executions_ended() IS 'Trigger: notes the end of an execution that somebody waits for.';
COMMENT ON FUNCTION cronsvc_dependency_fault(jsonb) IS 'What is wrong with the shape of a depends_on; null: nothing.';
COMMENT ON FUNCTION cronsvc_jobs_wait() IS 'Trigger: names in depends_on become ids; one that cannot be read sets the job aside.';
COMMENT ON FUNCTION cronsvc_jobs_connect() IS 'Trigger: keeps job_dependencies, refuses circles, chains of more than 20 jobs and the deletion of an upstream.';
COMMENT ON VIEW cronsvc_v1.dependencies IS 'Which job runs after which; for one that waits for all, which of its upstreams have ended already (waits_with_end_of).';
