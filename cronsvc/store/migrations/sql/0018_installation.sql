-- Where services reach this database and what their operator calls it: that tells a young copy from the original.

ALTER TABLE service_identity
    ADD COLUMN addresses    jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN installation text,
    DROP CONSTRAINT service_identity_reason_known,
    ADD CONSTRAINT service_identity_reason_known
        CHECK (fence_reason IN ('other_server', 'other_database', 'went_back', 'other_address', 'other_installation')),
    ADD CONSTRAINT service_identity_addresses_object CHECK (jsonb_typeof(addresses) = 'object'),
    ADD CONSTRAINT service_identity_installation_named CHECK (installation ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$');

COMMENT ON COLUMN service_identity.addresses IS 'Where schedulers and workers have reached this database, the 16 seen last, each with the second since 1970 when it was.';
COMMENT ON COLUMN service_identity.installation IS 'What its operator calls it (CRONSVC_INSTALLATION); null where nobody has said.';
COMMENT ON COLUMN service_identity.fence_reason IS 'other_server, other_database, went_back, other_address or other_installation.';

-- The data folder of the server, where our role may ask: beside a socket or a loopback address it says which server that is.
CREATE FUNCTION cronsvc_data_folder() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory') END $$;

COMMENT ON FUNCTION cronsvc_data_folder() IS 'The data folder of the server; null where the role may not ask.';

-- Replicas take turns by an advisory lock: a lock on the table would send autovacuum away each time.
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
        head_place := head_place + 1;
        head_hash := cronsvc_audit_hash(head_hash, entry);
        INSERT INTO audit_chain (place, audit_id, hash) VALUES (head_place, entry.id, head_hash);
        DELETE FROM audit_unsealed WHERE audit_id = entry.id;
        sealed := sealed + 1;
    END LOOP;
END $$;
