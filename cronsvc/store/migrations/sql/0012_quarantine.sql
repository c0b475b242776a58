-- Selectors by all tags, and a quarantine that is audited.

COMMENT ON COLUMN maintenance_windows.tags IS 'Jobs with all of these tags; empty: whatever their tags.';

CREATE FUNCTION cronsvc_jobs_quarantined() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_log (actor, source, action, entity, entity_id, namespace, before, after)
    VALUES (cronsvc_actor(), nullif(current_setting('cronsvc.source', true), ''),
            CASE WHEN NEW.quarantine_reason IS NULL THEN 'release' ELSE 'quarantine' END, 'job', NEW.id::text, NEW.namespace,
            jsonb_build_object('quarantine_reason', OLD.quarantine_reason), jsonb_build_object('quarantine_reason', NEW.quarantine_reason));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION cronsvc_jobs_quarantined() IS 'Trigger: writes to audit_log that a job was quarantined or released.';
CREATE TRIGGER jobs_quarantined AFTER UPDATE OF quarantine_reason, cron_expression, every_seconds, run_at, timezone, anchor, start_at, end_at,
        max_runs, calendar, calendar_rule, is_active, deleted_at
    ON jobs FOR EACH ROW WHEN (OLD.quarantine_reason IS DISTINCT FROM NEW.quarantine_reason) EXECUTE FUNCTION cronsvc_jobs_quarantined();

