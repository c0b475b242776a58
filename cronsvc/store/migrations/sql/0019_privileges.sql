-- Who may call and write what: triggers closed to everyone, the chain robust, the fence lifted by confirmations only.
--
-- A function that runs with the rights of its owner and that everybody may execute can be put on a temporary table by anybody
-- who may log in: CREATE TRIGGER asks for nothing but EXECUTE. Firing a trigger does not ask, so nothing else changes.

CREATE OR REPLACE FUNCTION cronsvc_executions_ended() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF pg_partition_root(TG_RELID) IS DISTINCT FROM 'public.job_executions'::regclass THEN
        RAISE EXCEPTION 'this trigger is of job_executions alone' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.parent_job_id IS NOT NULL OR NEW.children > 0
       OR EXISTS (SELECT FROM job_dependencies AS d WHERE d.upstream_id = NEW.job_id) THEN
        INSERT INTO execution_ends (execution_id, job_id, scheduled_time, status, status_reason, result, children, parent_job_id, parent_time)
        VALUES (NEW.id, NEW.job_id, NEW.scheduled_time, NEW.status, NEW.status_reason, NEW.result, NEW.children, NEW.parent_job_id, NEW.parent_time);
        PERFORM pg_notify('cronsvc_wake', '');
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION cronsvc_jobs_wait() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    fault text;
BEGIN
    IF TG_RELID <> 'public.jobs'::regclass THEN
        RAISE EXCEPTION 'this trigger is of jobs alone' USING ERRCODE = 'insufficient_privilege';
    END IF;
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

CREATE OR REPLACE FUNCTION cronsvc_jobs_connect() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    wanted bigint[] := '{}';
    above integer;
    below integer;
    circle bigint;
    others text;
BEGIN
    IF TG_RELID <> 'public.jobs'::regclass THEN
        RAISE EXCEPTION 'this trigger is of jobs alone' USING ERRCODE = 'insufficient_privilege';
    END IF;
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

CREATE OR REPLACE FUNCTION cronsvc_audit_waits() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_RELID <> 'public.audit_log'::regclass THEN
        RAISE EXCEPTION 'this trigger is of audit_log alone' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO audit_unsealed (audit_id) SELECT id FROM added;
    RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION cronsvc_executions_ended(), cronsvc_jobs_wait(), cronsvc_jobs_connect(), cronsvc_audit_waits() FROM PUBLIC;

-- What waits although it is sealed holds up nobody: it is taken out, and told in the server's log.
CREATE OR REPLACE FUNCTION cronsvc_seal_audit(most integer, OUT sealed integer, OUT head_place bigint, OUT head_hash bytea)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    entry audit_log%ROWTYPE;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('cronsvc'), hashtext('audit_chain'));
    SELECT c.place, c.hash INTO head_place, head_hash FROM audit_chain AS c ORDER BY c.place DESC LIMIT 1;
    head_place := coalesce(head_place, 0);
    head_hash := coalesce(head_hash, decode(repeat('00', 32), 'hex'));
    sealed := 0;
    FOR entry IN SELECT a.* FROM audit_unsealed AS u JOIN audit_log AS a ON a.id = u.audit_id ORDER BY a.id LIMIT most LOOP
        DELETE FROM audit_unsealed WHERE audit_id = entry.id;
        IF EXISTS (SELECT FROM audit_chain AS c WHERE c.audit_id = entry.id) THEN
            RAISE WARNING 'entry % of audit_log waited for a place although it has one', entry.id;
            CONTINUE;
        END IF;
        head_place := head_place + 1;
        head_hash := cronsvc_audit_hash(head_hash, entry);
        INSERT INTO audit_chain (place, audit_id, hash) VALUES (head_place, entry.id, head_hash);
        sealed := sealed + 1;
    END LOOP;
END $$;

-- Not what is wrong, but where to look: an id may also be unused because its transaction was rolled back, or has not ended yet.
CREATE FUNCTION cronsvc_v1.audit_unused_ids() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS
$$ SELECT greatest(s.last_value - CASE WHEN s.is_called THEN 0 ELSE 1 END
                   - greatest((SELECT max(id) FROM audit_log), (SELECT max(audit_id) FROM audit_chain), 0), 0)
     FROM audit_log_id_seq AS s $$;
REVOKE ALL ON FUNCTION cronsvc_v1.audit_unused_ids() FROM PUBLIC;
COMMENT ON FUNCTION cronsvc_v1.audit_unused_ids() IS 'How many ids were given out after the last entry of audit_log: changes that were taken back, or an end that was cut off.';

-- Who may not begin a new lineage may not lift a fence either, nor give the database another name: that is for people.
CREATE FUNCTION cronsvc_identity_stays() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT has_column_privilege('public.service_identity', 'lineage', 'UPDATE') THEN
        RAISE EXCEPTION 'only a confirmation lifts the fence or renames the installation' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION cronsvc_identity_stays() IS 'Trigger: a fence is lifted, and a name changed, only by roles that may confirm.';
CREATE TRIGGER service_identity_stays BEFORE UPDATE ON service_identity FOR EACH ROW
    WHEN (OLD.fenced_at IS NOT NULL AND (NEW.fenced_at IS NULL OR NEW.fence_reason <> OLD.fence_reason)
          OR OLD.installation IS NOT NULL AND NEW.installation IS DISTINCT FROM OLD.installation)
    EXECUTE FUNCTION cronsvc_identity_stays();

COMMENT ON INDEX audit_log_at IS 'Serves the list of entries by time.';
