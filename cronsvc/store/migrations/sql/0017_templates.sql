-- Groups of jobs, and templates that jobs are made from.
--
-- What looks at every job is left to 0020, which does it while jobs can be written: the checks' first look, and the indexes.

ALTER TABLE jobs ADD COLUMN job_group text;
ALTER TABLE jobs ADD COLUMN template_id bigint;
ALTER TABLE jobs ADD COLUMN template_revision integer;
ALTER TABLE jobs ADD COLUMN template_input jsonb;
ALTER TABLE jobs ADD CONSTRAINT jobs_group_name CHECK (job_group ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$') NOT VALID;
ALTER TABLE jobs ADD CONSTRAINT jobs_template_whole CHECK (num_nulls(template_id, template_revision, template_input) IN (0, 3)) NOT VALID;
COMMENT ON COLUMN jobs.job_group IS 'The one group it belongs to within its namespace; null: none.';
COMMENT ON COLUMN jobs.template_id IS 'The template it was made from; book-keeping, no part of the definition.';
COMMENT ON COLUMN jobs.template_revision IS 'The revision of the template that was applied last.';
COMMENT ON COLUMN jobs.template_input IS '{"values", "overrides"}: what was given with the template.';

CREATE OR REPLACE FUNCTION cronsvc_definition(job jobs) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$$ SELECT to_jsonb(job) - ARRAY['next_fire_time', 'last_fire_time', 'fire_count', 'revision', 'armed_revision', 'tzdata_version',
        'quarantine_reason', 'paused_at', 'paused_by', 'pause_note', 'paused_until', 'created_at', 'updated_at', 'shard',
        'consecutive_failures', 'template_id', 'template_revision', 'template_input'] $$;

DROP TRIGGER jobs_stamp ON jobs;
CREATE TRIGGER jobs_stamp BEFORE UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures, max_concurrency, concurrency_key, calendar, calendar_rule, depends_on, job_group
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_stamp();
DROP TRIGGER jobs_record_update ON jobs;
CREATE TRIGGER jobs_record_update AFTER UPDATE OF namespace, name, description, tags, cron_expression, every_seconds, run_at, timezone, anchor,
        start_at, end_at, max_runs, jitter_seconds, misfire_policy, misfire_grace_seconds, misfire_cap, overlap_policy, queue, priority,
        max_attempts, backoff, timeout_seconds, retention, task_payload, is_active, deleted_at, retry_on, deadline_seconds,
        pause_after_failures, max_concurrency, concurrency_key, calendar, calendar_rule, depends_on, job_group, paused_at
    ON jobs FOR EACH ROW EXECUTE FUNCTION cronsvc_jobs_record();

CREATE TABLE job_templates (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace   text,
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    revision    integer NOT NULL DEFAULT 1,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at  timestamptz,
    CONSTRAINT job_templates_name CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$')
);
CREATE UNIQUE INDEX job_templates_named ON job_templates (coalesce(namespace, ''), name) WHERE deleted_at IS NULL;
COMMENT ON TABLE job_templates IS 'Named definitions with parameters, from which jobs are made. What one says is in job_template_revisions.';
COMMENT ON COLUMN job_templates.namespace IS 'Where it can be used; null: everywhere.';
COMMENT ON COLUMN job_templates.revision IS 'Grows by one with each change; ETag and If-Match of the API.';
COMMENT ON COLUMN job_templates.deleted_at IS 'Set when deleted; the name is free again, and jobs made from it stay as they are.';
COMMENT ON INDEX job_templates_named IS 'One live template a name in each namespace, and one that is everywhere.';

CREATE TABLE job_template_revisions (
    template_id bigint NOT NULL REFERENCES job_templates (id),
    revision    integer NOT NULL,
    parameters  jsonb NOT NULL,
    definition  jsonb NOT NULL,
    actor       text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (template_id, revision),
    CONSTRAINT job_template_revisions_shape CHECK (jsonb_typeof(parameters) = 'array' AND jsonb_typeof(definition) = 'object')
);
COMMENT ON TABLE job_template_revisions IS 'What each template said, revision by revision: applying a change compares two of them.';
COMMENT ON COLUMN job_template_revisions.parameters IS 'The declared parameters, as the API shows them.';
COMMENT ON COLUMN job_template_revisions.definition IS 'A job''s document in which ${name} stands for the value of a parameter.';

ALTER TABLE job_templates ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_template_revisions ENABLE ROW LEVEL SECURITY;
-- A template without a namespace is for everybody: all may look, only who reaches everything may write.
CREATE POLICY job_templates_reach ON job_templates
    USING ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[])
           OR (namespace IS NULL AND (SELECT cronsvc_reach()) IS NOT NULL))
    WITH CHECK ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[]));
CREATE POLICY job_template_revisions_reach ON job_template_revisions
    USING ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM job_templates AS t WHERE t.id = job_template_revisions.template_id))
    WITH CHECK ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM job_templates AS t
                 WHERE t.id = job_template_revisions.template_id AND t.namespace = ANY ((SELECT cronsvc_reach())::text[])));

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
       retry_on, deadline_seconds, pause_after_failures, consecutive_failures, calendar, calendar_rule, depends_on,
       job_group, template_id, template_revision
  FROM public.jobs WHERE deleted_at IS NULL;

CREATE VIEW cronsvc_v1.templates AS
SELECT t.id, t.namespace, t.name, t.description, t.revision, r.definition #>> '{taskPayload,type}' AS task_type, t.created_by,
       t.created_at, t.updated_at,
       (SELECT count(*) FROM public.jobs j WHERE j.template_id = t.id AND j.deleted_at IS NULL) AS jobs,
       (SELECT count(*) FROM public.jobs j WHERE j.template_id = t.id AND j.deleted_at IS NULL
                                             AND j.template_revision < t.revision) AS jobs_behind
  FROM public.job_templates t JOIN public.job_template_revisions r ON r.template_id = t.id AND r.revision = t.revision
 WHERE t.deleted_at IS NULL;
COMMENT ON VIEW cronsvc_v1.templates IS 'Templates of jobs, without their definitions; jobs_behind: made from an earlier revision, and not brought up to date.';
