-- Encrypted secrets, which jobs name as {{secret:name}}.

CREATE TABLE secrets (
    namespace    text NOT NULL DEFAULT 'default',
    name         text NOT NULL,
    ciphertext   bytea NOT NULL,
    key_id       text NOT NULL,
    version      integer NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by   text NOT NULL DEFAULT cronsvc_actor(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by   text NOT NULL DEFAULT cronsvc_actor(),
    last_used_at timestamptz,
    PRIMARY KEY (namespace, name),
    CONSTRAINT secrets_name CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$')
);

-- AFTER a change: who and which version. What it holds is in no form written down.
CREATE FUNCTION cronsvc_secrets_record() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    secret secrets := coalesce(NEW, OLD);
BEGIN
    INSERT INTO audit_log (actor, source, action, entity, entity_id, namespace, before, after)
    VALUES (cronsvc_actor(), nullif(current_setting('cronsvc.source', true), ''),
            CASE WHEN TG_OP = 'INSERT' THEN 'create' WHEN TG_OP = 'DELETE' THEN 'delete'
                 WHEN NEW.version = OLD.version THEN 'rotate' ELSE 'update' END,
            'secret', secret.name, secret.namespace,
            CASE WHEN TG_OP <> 'INSERT' THEN jsonb_build_object('version', OLD.version, 'key_id', OLD.key_id) END,
            CASE WHEN TG_OP <> 'DELETE' THEN jsonb_build_object('version', NEW.version, 'key_id', NEW.key_id) END);
    RETURN NULL;
END $$;

CREATE TRIGGER secrets_record AFTER INSERT OR DELETE OR UPDATE OF namespace, name, ciphertext, key_id, version
    ON secrets FOR EACH ROW EXECUTE FUNCTION cronsvc_secrets_record();

CREATE VIEW cronsvc_v1.secrets AS
SELECT namespace, name, key_id, version, created_at, created_by, updated_at, updated_by, last_used_at FROM public.secrets;

COMMENT ON TABLE secrets IS 'Secrets that jobs name as {{secret:name}}; written by cronsvc only, because only it has the keys.';
COMMENT ON COLUMN secrets.ciphertext IS 'A Fernet token over namespace, name and value: a row that is copied to another name opens nothing.';
COMMENT ON COLUMN secrets.key_id IS 'Which key encrypted it: the beginning of a hash of that key.';
COMMENT ON COLUMN secrets.version IS 'Counts the values it has had; the same value under another key is the same version.';
COMMENT ON COLUMN secrets.last_used_at IS 'When a worker last read it; written at most once a minute.';
COMMENT ON FUNCTION cronsvc_secrets_record() IS 'Trigger: writes audit_log for a change of a secret, without what it holds.';
COMMENT ON VIEW cronsvc_v1.secrets IS 'Which secrets there are, who set them and when they were last used; not what they hold.';
