-- Database roles with no more rights than their process needs, and the policies that bind the API to its caller's namespaces.
--
--     cronsvc_api        what `cronsvc api` does: definitions, triggers, keys, audit entries; rows of the caller's namespaces only
--     cronsvc_scheduler  what `cronsvc scheduler` does: executions, cursors, upkeep; defines nothing
--     cronsvc_worker     what `cronsvc worker` does: claims, results, attempts; writes no definition
--     cronsvc_auditor    a role for people who look: the views of cronsvc_v1 and nothing else. No table, no key, no configuration
--                        of what jobs run; what targets answered (result, error, response_excerpt) can be read
--
-- The fifth role is the one that owns the tables, because it runs `cronsvc migrate`. Nothing here is needed: a deployment that
-- runs everything as the owner goes on as before, and no policy binds it. Whoever wants the wall runs this once, and again
-- after each upgrade of cronsvc (it changes nothing that is right already; until then a process that lacks a right waits and says
-- so), in the database of cronsvc, as the owner, who may need CREATEROLE for the first time (or have somebody else create the four
-- roles: then only the GRANTs are left to do).
--
--     psql "$DATABASE_URL" -f sql/roles.sql
--     psql "$DATABASE_URL" -c "CREATE ROLE cron_api LOGIN PASSWORD '…' IN ROLE cronsvc_api"        and so on; give each process its own
--     psql "$DATABASE_URL" -c 'GRANT cronsvc_auditor TO alice'
--
-- A login must be in one of the roles only: in two it has the rights of both. FORCE ROW LEVEL SECURITY must stay off, because
-- the views of cronsvc_v1 read with the rights of the owner.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['cronsvc_api', 'cronsvc_scheduler', 'cronsvc_worker', 'cronsvc_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END $$;

-- Up to Postgres 14 everybody may create in `public`, and a function there with a better matching signature than Postgres' own
-- would be run by whoever asks next, with that role's rights.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- Nobody here needs a temporary table, and one's own table is where the triggers of others could be put. A database that cronsvc
-- shares with others can give the right back to their roles: GRANT TEMPORARY ON DATABASE … TO ….
DO $$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;

-- ---------------------------------------------------------------------------------------------------------------------
-- The auditor
-- ---------------------------------------------------------------------------------------------------------------------
GRANT USAGE ON SCHEMA cronsvc_v1 TO cronsvc_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA cronsvc_v1 TO cronsvc_auditor;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cronsvc_v1 TO cronsvc_auditor;     -- the checks of the audit log's chain

-- Views of later releases: holds for what the role that runs this creates, hence "as the owner".
ALTER DEFAULT PRIVILEGES IN SCHEMA cronsvc_v1 GRANT SELECT ON TABLES TO cronsvc_auditor;

-- ---------------------------------------------------------------------------------------------------------------------
-- The processes
-- ---------------------------------------------------------------------------------------------------------------------
GRANT USAGE ON SCHEMA public TO cronsvc_api, cronsvc_scheduler, cronsvc_worker;
GRANT SELECT ON alembic_version TO cronsvc_api, cronsvc_scheduler, cronsvc_worker;
GRANT USAGE ON SEQUENCE job_executions_id_seq TO cronsvc_api, cronsvc_scheduler, cronsvc_worker;

-- Everybody reads definitions and executions, and may add to the audit log, never change it.
GRANT SELECT ON jobs, job_revisions, job_executions, job_attempts, job_statistics, queues, workers, schedulers, limit_scopes,
                calendars, calendar_dates, maintenance_windows, backfills, recoveries, trigger_keys, job_dependencies,
                dependency_rounds, service_identity, job_templates, job_template_revisions
    TO cronsvc_api, cronsvc_scheduler, cronsvc_worker;
-- To the audit log they add who did what; its id and its instant, and the request, are not theirs to say.
DO $$
BEGIN
    REVOKE INSERT ON audit_log FROM cronsvc_api, cronsvc_scheduler, cronsvc_worker;
    GRANT INSERT (actor, source, action, entity, entity_id, namespace, before, after) ON audit_log
        TO cronsvc_api, cronsvc_scheduler, cronsvc_worker;
END $$;
GRANT INSERT ON queues TO cronsvc_api, cronsvc_scheduler, cronsvc_worker;    -- a job that names a new one makes it
GRANT INSERT, UPDATE ON limit_scopes TO cronsvc_api, cronsvc_scheduler, cronsvc_worker;
-- Who this database is: the API confirms. Schedulers and workers may fence it and follow a server that started again; a trigger
-- keeps them from lifting a fence.
DO $$
BEGIN
    REVOKE UPDATE ON service_identity FROM cronsvc_scheduler, cronsvc_worker;
    GRANT UPDATE (server_start, timeline, system_identifier, database_name, fenced_at, fence_reason, fence_detail, addresses, installation)
        ON service_identity TO cronsvc_scheduler, cronsvc_worker;
    GRANT UPDATE (generation, noted_at) ON service_identity TO cronsvc_scheduler;
END $$;
GRANT UPDATE ON service_identity TO cronsvc_api;
GRANT INSERT ON service_identity TO cronsvc_scheduler, cronsvc_worker;

GRANT SELECT ON audit_log, audit_chain, audit_unsealed TO cronsvc_api;    -- nobody writes the chain: sealing is a function of the owner's
GRANT USAGE ON SCHEMA cronsvc_v1 TO cronsvc_api;
GRANT EXECUTE ON FUNCTION cronsvc_v1.audit_head(), cronsvc_v1.audit_verify(bigint, integer), cronsvc_v1.audit_unchained(bigint, integer),
                          cronsvc_v1.audit_unused_ids()
    TO cronsvc_api;
GRANT SELECT ON audit_unsealed TO cronsvc_scheduler;
GRANT EXECUTE ON FUNCTION cronsvc_seal_audit(integer) TO cronsvc_scheduler;
GRANT SELECT ON callback_keys TO cronsvc_api, cronsvc_worker;               -- who signs the tokens of callbacks, and who checks them
GRANT SELECT, INSERT ON execution_ends TO cronsvc_api, cronsvc_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON secrets TO cronsvc_api;
GRANT INSERT, UPDATE ON jobs, queues, backfills, recoveries, calendars, maintenance_windows, trigger_keys, job_statistics TO cronsvc_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON request_keys TO cronsvc_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON egress_lists, target_hosts TO cronsvc_api;
GRANT SELECT ON host_calls TO cronsvc_api;
GRANT SELECT, UPDATE (held_until) ON host_holds TO cronsvc_api;              -- lets go what a reset sets free
GRANT INSERT, UPDATE ON job_templates TO cronsvc_api;
GRANT INSERT ON job_template_revisions TO cronsvc_api;
GRANT INSERT ON job_revisions, job_attempts, calendar_dates TO cronsvc_api;
GRANT INSERT, UPDATE, DELETE ON job_executions TO cronsvc_api;
GRANT DELETE ON job_attempts, calendar_dates TO cronsvc_api;                -- clean-up by hand; a calendar's dates anew
GRANT SELECT, INSERT, UPDATE ON api_keys TO cronsvc_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO cronsvc_api;
GRANT SELECT, INSERT, DELETE ON sign_ins TO cronsvc_api;
GRANT EXECUTE ON FUNCTION cronsvc_make_partition(text, date) TO cronsvc_api;

GRANT UPDATE (next_fire_time, last_fire_time, fire_count, armed_revision, tzdata_version, quarantine_reason, consecutive_failures,
              paused_at, paused_by, pause_note, paused_until) ON jobs TO cronsvc_scheduler;
GRANT UPDATE ON queues, backfills, recoveries TO cronsvc_scheduler;
GRANT UPDATE (id) ON calendars, maintenance_windows TO cronsvc_scheduler;   -- locks their rows; an id cannot be changed
GRANT INSERT, UPDATE, DELETE ON job_executions, schedulers, dependency_rounds TO cronsvc_scheduler;
GRANT SELECT, INSERT, UPDATE, DELETE ON execution_ends TO cronsvc_scheduler;
GRANT INSERT, DELETE ON job_attempts TO cronsvc_scheduler;
GRANT INSERT, UPDATE ON job_statistics TO cronsvc_scheduler;
GRANT UPDATE, DELETE ON workers TO cronsvc_scheduler;
GRANT SELECT, DELETE ON host_calls, host_holds TO cronsvc_scheduler;
GRANT UPDATE (created_at), DELETE ON trigger_keys TO cronsvc_scheduler;      -- locks what it forgets
GRANT SELECT (key_hash, created_at), UPDATE (created_at), DELETE ON request_keys TO cronsvc_scheduler;
GRANT SELECT (id, revoked_at) ON api_keys TO cronsvc_scheduler;             -- to forget sessions whose key has ended
GRANT SELECT (api_key_id, expires_at, last_seen_at), DELETE ON sessions TO cronsvc_scheduler;
GRANT SELECT (expires_at), DELETE ON sign_ins TO cronsvc_scheduler;
GRANT EXECUTE ON FUNCTION cronsvc_make_partition(text, date), cronsvc_hold_partition(date), cronsvc_drop_partition(date)
    TO cronsvc_scheduler;

-- A worker pauses a job that has failed too often, and that is all it may do to one.
GRANT UPDATE (consecutive_failures, paused_at, paused_by, pause_note, paused_until) ON jobs TO cronsvc_worker;
GRANT INSERT, UPDATE ON job_executions, workers TO cronsvc_worker;
GRANT INSERT ON job_attempts TO cronsvc_worker;
GRANT SELECT, UPDATE (last_used_at) ON secrets TO cronsvc_worker;           -- ciphertext; the keys are in its environment
GRANT UPDATE (tokens, tokens_at) ON queues TO cronsvc_worker;
GRANT SELECT ON egress_lists, target_hosts TO cronsvc_worker;               -- no budget is a worker's to set, only the breaker's state
GRANT UPDATE (state, failures, changed_at, open_until, tripped_by, note, probe_job_id, probe_time, probe_claim) ON target_hosts
    TO cronsvc_worker;
GRANT SELECT, INSERT, UPDATE ON host_calls, host_holds TO cronsvc_worker;
GRANT EXECUTE ON FUNCTION cronsvc_make_partition(text, date) TO cronsvc_worker;

-- ---------------------------------------------------------------------------------------------------------------------
-- Row-level security
-- ---------------------------------------------------------------------------------------------------------------------
-- The tables' own policies show a role the namespaces that its transaction names, and nothing if it names none: that is for the
-- API. Schedulers and workers serve every namespace; the policies below fold away when a statement is planned.
DO $$
DECLARE
    guarded regclass;
BEGIN
    FOR guarded IN SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                    WHERE n.nspname = 'public' AND c.relrowsecurity
    LOOP
        EXECUTE format('DROP POLICY IF EXISTS cronsvc_processes ON %s', guarded);
        EXECUTE format('CREATE POLICY cronsvc_processes ON %s TO cronsvc_scheduler, cronsvc_worker USING (true) WITH CHECK (true)', guarded);
    END LOOP;
END $$;

-- What a scheduler or a worker does is done in the service's own name, or in that of its login; never in a person's.
DROP POLICY IF EXISTS cronsvc_own_names ON audit_log;
CREATE POLICY cronsvc_own_names ON audit_log AS RESTRICTIVE FOR INSERT TO cronsvc_scheduler, cronsvc_worker
    WITH CHECK (actor LIKE 'cronsvc:%' OR actor = 'sql:' || session_user);
