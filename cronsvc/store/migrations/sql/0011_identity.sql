-- Sessions of people without a key, roles by namespace, row-level security, and partitions for roles that own no table.

ALTER TABLE api_keys ADD COLUMN roles jsonb;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_roles_object CHECK (jsonb_typeof(roles) = 'object');
COMMENT ON COLUMN api_keys.roles IS 'The role in each namespace, where they differ; role is then the least of them. Null: role holds for all of namespaces.';

ALTER TABLE sessions ALTER COLUMN api_key_id DROP NOT NULL;
ALTER TABLE sessions ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY;
ALTER TABLE sessions ADD COLUMN actor text;
ALTER TABLE sessions ADD COLUMN role text;
ALTER TABLE sessions ADD COLUMN namespaces text[];
ALTER TABLE sessions ADD COLUMN roles jsonb;
ALTER TABLE sessions ADD COLUMN source text;
ALTER TABLE sessions ADD COLUMN last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp();
ALTER TABLE sessions ADD CONSTRAINT sessions_of_one CHECK (num_nonnulls(api_key_id, actor) = 1 AND (actor IS NULL) = (role IS NULL));
ALTER TABLE sessions ADD CONSTRAINT sessions_role_known CHECK (role IN ('viewer', 'operator', 'admin'));
ALTER TABLE sessions ADD CONSTRAINT sessions_roles_object CHECK (jsonb_typeof(roles) = 'object');
CREATE UNIQUE INDEX sessions_id ON sessions (id);
COMMENT ON TABLE sessions IS 'Sessions of the status page: of a key, with which they end, or of somebody an identity provider vouched for. Only hashes of their tokens.';
COMMENT ON COLUMN sessions.actor IS 'Who, when an identity provider said so; then role, namespaces and roles are what it granted at sign-in.';
COMMENT ON COLUMN sessions.source IS 'The address of the sign-in.';
COMMENT ON COLUMN sessions.last_seen_at IS 'Written at most once a minute; a session that is not used for two hours is over.';
COMMENT ON INDEX sessions_id IS 'Serves the list of sessions.';

CREATE TABLE sign_ins (
    state_hash   bytea PRIMARY KEY,
    browser_hash bytea NOT NULL,
    nonce        text NOT NULL,
    verifier     text NOT NULL,
    next         text NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX sign_ins_end ON sign_ins (expires_at);
COMMENT ON TABLE sign_ins IS 'Sign-ins on their way through an identity provider; each row is taken by the one answer that belongs to it, or forgotten after ten minutes.';
COMMENT ON COLUMN sign_ins.browser_hash IS 'SHA-256 of the cookie that the browser got: only that browser can finish.';
COMMENT ON COLUMN sign_ins.verifier IS 'PKCE: without it the code in the answer is worth nothing.';
COMMENT ON INDEX sign_ins_end IS 'Serves forgetting those that were never finished.';

-- What the transaction may see: the setting cronsvc.namespaces, an array or * for everything. Unset: nothing.
CREATE FUNCTION cronsvc_reach() RETURNS text[] LANGUAGE sql STABLE AS
$$ SELECT nullif(nullif(current_setting('cronsvc.namespaces', true), ''), '*')::text[] $$;
CREATE FUNCTION cronsvc_reaches_all() RETURNS boolean LANGUAGE sql STABLE AS
$$ SELECT current_setting('cronsvc.namespaces', true) IS NOT DISTINCT FROM '*' $$;
COMMENT ON FUNCTION cronsvc_reach() IS 'The namespaces that this transaction may touch: the setting cronsvc.namespaces; null when there is none.';
COMMENT ON FUNCTION cronsvc_reaches_all() IS 'Whether this transaction may touch every namespace: cronsvc.namespaces is *.';

-- The owner of the tables is not bound by these; sql/roles.sql says who is. Sub-selects, so that each is asked once a statement.
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_executions ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_attempts ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_statistics ENABLE ROW LEVEL SECURITY;
ALTER TABLE trigger_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE backfills ENABLE ROW LEVEL SECURITY;
ALTER TABLE recoveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE calendars ENABLE ROW LEVEL SECURITY;
ALTER TABLE calendar_dates ENABLE ROW LEVEL SECURITY;
ALTER TABLE maintenance_windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE dependency_rounds ENABLE ROW LEVEL SECURITY;

CREATE POLICY jobs_reach ON jobs
    USING ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[]));
CREATE POLICY job_revisions_reach ON job_revisions
    USING ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM jobs AS j WHERE j.id = job_revisions.job_id));
CREATE POLICY job_executions_reach ON job_executions
    USING ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM jobs AS j WHERE j.id = job_executions.job_id));
CREATE POLICY job_attempts_reach ON job_attempts
    USING ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM jobs AS j WHERE j.id = job_attempts.job_id));
CREATE POLICY job_statistics_reach ON job_statistics
    USING ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM jobs AS j WHERE j.id = job_statistics.job_id));
CREATE POLICY trigger_keys_reach ON trigger_keys
    USING ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM jobs AS j WHERE j.id = trigger_keys.job_id));
CREATE POLICY backfills_reach ON backfills
    USING ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM jobs AS j WHERE j.id = backfills.job_id));
CREATE POLICY recoveries_reach ON recoveries
    USING ((SELECT cronsvc_reaches_all()) OR namespaces <@ (SELECT cronsvc_reach()));
CREATE POLICY calendars_reach ON calendars
    USING ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[]));
CREATE POLICY calendar_dates_reach ON calendar_dates
    USING ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM calendars AS c WHERE c.id = calendar_dates.calendar_id));
CREATE POLICY secrets_reach ON secrets
    USING ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[]));
CREATE POLICY dependency_rounds_reach ON dependency_rounds
    USING ((SELECT cronsvc_reaches_all()) OR EXISTS (SELECT FROM jobs AS j WHERE j.id = dependency_rounds.job_id));
-- A window without a namespace concerns everybody: all may look, only who reaches everything may write.
CREATE POLICY maintenance_windows_reach ON maintenance_windows
    USING ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[])
           OR (namespace IS NULL AND (SELECT cronsvc_reach()) IS NOT NULL))
    WITH CHECK ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[]));
CREATE POLICY audit_log_read ON audit_log FOR SELECT
    USING ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[]));
CREATE POLICY audit_log_write ON audit_log FOR INSERT
    WITH CHECK (namespace IS NULL OR (SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[]));

-- Partitions belong to the owner of their parents, and schedulers need not be that: these run with its rights. A partition is
-- built and then attached, because ATTACH lets readers and writers of the parent go on.
CREATE FUNCTION cronsvc_make_partition(parent text, week date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    partition text := parent || to_char(week, '"_"YYYYMMDD');
    attached  boolean;
BEGIN
    IF parent NOT IN ('job_executions', 'job_attempts') OR extract(isodow FROM week) <> 1 THEN
        RAISE EXCEPTION 'there is no partition of % from %', parent, week USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT c.relispartition INTO attached FROM pg_class AS c WHERE c.oid = to_regclass('public.' || quote_ident(partition));
    IF attached THEN
        RETURN;
    END IF;
    IF attached IS NULL THEN                        -- updated twice a row: vacuum long before the default of a fifth
        EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING ALL) '
                       'WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1)', partition, parent);
    END IF;
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', parent, partition,
                   week::timestamp AT TIME ZONE 'UTC', (week + 7)::timestamp AT TIME ZONE 'UTC');
END $$;

CREATE FUNCTION cronsvc_hold_partition(week date) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    finished boolean;
BEGIN
    EXECUTE format('LOCK TABLE public.%I IN SHARE MODE', to_char(week, '"job_executions_"YYYYMMDD'));
    EXECUTE format('SELECT NOT EXISTS (SELECT FROM public.%I WHERE status IN (''QUEUED'', ''RUNNING''))',
                   to_char(week, '"job_executions_"YYYYMMDD')) INTO finished;
    RETURN finished;
END $$;

CREATE FUNCTION cronsvc_drop_partition(week date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    EXECUTE format('DROP TABLE public.%I', to_char(week, '"job_executions_"YYYYMMDD'));
    EXECUTE format('DROP TABLE public.%I', to_char(week, '"job_attempts_"YYYYMMDD'));
END $$;

REVOKE ALL ON FUNCTION cronsvc_make_partition(text, date) FROM PUBLIC;
REVOKE ALL ON FUNCTION cronsvc_hold_partition(date) FROM PUBLIC;
REVOKE ALL ON FUNCTION cronsvc_drop_partition(date) FROM PUBLIC;
COMMENT ON FUNCTION cronsvc_make_partition(text, date) IS 'Makes the partition of job_executions or job_attempts that begins on this Monday (UTC), unless there is one.';
COMMENT ON FUNCTION cronsvc_hold_partition(date) IS 'Keeps writers out of a week of job_executions until the transaction ends, and tells whether everything in it has ended.';
COMMENT ON FUNCTION cronsvc_drop_partition(date) IS 'Drops the partitions of the week that begins on this Monday.';
