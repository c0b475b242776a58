-- The audit log as a chain of hashes, and the request that each entry came with.
--
-- Entries are chained after their commit, by a scheduler, in batches: a chain that grows at the insert would hold one lock from
-- there to the commit in every transaction that changes anything, and ids are no order to chain by, for they have gaps and
-- commit out of order. So each entry leaves its id in audit_unsealed in its own transaction, and whoever seals takes what has
-- been committed by then and gives it the next places. Entries from before this migration are put there by 0019, which takes its
-- time without a lock: nothing below is more than a moment's work, however long the log is.

ALTER TABLE audit_log ADD COLUMN request_id text DEFAULT nullif(current_setting('cronsvc.request_id', true), '');
COMMENT ON COLUMN audit_log.request_id IS 'The X-Request-Id of the request, which the log of the API process has as well.';

CREATE TABLE audit_chain (
    place     bigint PRIMARY KEY,
    audit_id  bigint NOT NULL,
    hash      bytea NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT audit_chain_once UNIQUE (audit_id),
    CONSTRAINT audit_chain_sha256 CHECK (length(hash) = 32)
);
COMMENT ON TABLE audit_chain IS 'One row for each sealed entry of audit_log. Append-only; only cronsvc_seal_audit writes it.';
COMMENT ON COLUMN audit_chain.place IS 'From 1, without gaps, in the order of sealing.';
COMMENT ON COLUMN audit_chain.hash IS 'SHA-256 of the hash in the place before and of what the entry says: cronsvc_audit_hash.';

CREATE TABLE audit_unsealed (
    audit_id bigint PRIMARY KEY,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE audit_unsealed IS 'Entries of audit_log that have no place in audit_chain yet; usually for a few seconds.';

CREATE TRIGGER audit_chain_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION cronsvc_append_only();

-- With the rights of the owner: who may add entries need not be able to take one out of the queue again.
CREATE FUNCTION cronsvc_audit_waits() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO audit_unsealed (audit_id) SELECT id FROM added;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION cronsvc_audit_waits() IS 'Trigger: new entries of audit_log wait for their places in audit_chain.';
CREATE TRIGGER audit_log_waits AFTER INSERT ON audit_log REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION cronsvc_audit_waits();

-- The text is the same on every server and in every session: jsonb has one order of keys, and the instant is written in UTC.
CREATE FUNCTION cronsvc_audit_hash(previous bytea, entry audit_log) RETURNS bytea LANGUAGE sql STABLE
    SET search_path = pg_catalog, public, pg_temp AS
$$ SELECT sha256(previous || convert_to(jsonb_build_array(1, entry.id, to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        entry.actor, entry.source, entry.request_id, entry.action, entry.entity, entry.entity_id, entry.namespace, entry.before,
        entry.after)::text, 'UTF8')) $$;
COMMENT ON FUNCTION cronsvc_audit_hash(bytea, audit_log) IS 'The hash of an entry in the place after the one with the hash previous; before the first place that is 32 zero bytes.';

-- The lock keeps other sealers out until the commit, readers and writers of audit_log never. Each statement below sees what was
-- committed before it began, so the head that is read under the lock is the head.
CREATE FUNCTION cronsvc_seal_audit(most integer, OUT sealed integer, OUT head_place bigint, OUT head_hash bytea)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    entry audit_log%ROWTYPE;
BEGIN
    LOCK TABLE audit_chain IN SHARE ROW EXCLUSIVE MODE;
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
REVOKE ALL ON FUNCTION cronsvc_seal_audit(integer) FROM PUBLIC;
COMMENT ON FUNCTION cronsvc_seal_audit(integer) IS 'Gives up to so many waiting entries their places in audit_chain, lowest id first; answers how many, and the head of the chain.';

-- For auditors and the API. With the rights of the owner, because the chain runs through every namespace; no entry is shown.
CREATE FUNCTION cronsvc_v1.audit_head(OUT place bigint, OUT hash bytea, OUT sealed_at timestamptz, OUT waiting bigint,
                                      OUT waiting_since timestamptz, OUT lost_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS
$$ SELECT c.place, c.hash, c.sealed_at, w.waiting, w.waiting_since, w.lost_id
     FROM (SELECT count(*) AS waiting, min(u.added_at) AS waiting_since, min(u.audit_id) FILTER (WHERE a.id IS NULL) AS lost_id
             FROM audit_unsealed AS u LEFT JOIN audit_log AS a ON a.id = u.audit_id) AS w
     LEFT JOIN (SELECT * FROM audit_chain ORDER BY place DESC LIMIT 1) AS c ON true $$;
COMMENT ON FUNCTION cronsvc_v1.audit_head() IS 'The last place of the chain with its hash, to be kept elsewhere; how many entries wait for a place, since when, and the first of them that is gone.';

CREATE FUNCTION cronsvc_v1.audit_verify(after_place bigint DEFAULT 0, most integer DEFAULT 1000000, OUT checked bigint, OUT place bigint,
                                        OUT hash bytea, OUT broken_place bigint, OUT broken_id bigint, OUT reason text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    link record;
BEGIN
    checked := 0;
    place := greatest(after_place, 0);
    SELECT c.hash INTO hash FROM audit_chain AS c WHERE c.place = after_place;
    IF hash IS NULL AND place > 0 THEN
        broken_place := place;
        reason := 'unchained';
        RETURN;
    END IF;
    hash := coalesce(hash, decode(repeat('00', 32), 'hex'));
    FOR link IN SELECT c.place AS at_place, c.audit_id, c.hash AS sealed, a.id AS found, a AS entry
                  FROM audit_chain AS c LEFT JOIN audit_log AS a ON a.id = c.audit_id
                 WHERE c.place > after_place ORDER BY c.place LIMIT most
    LOOP
        IF link.at_place <> place + 1 THEN
            broken_place := place + 1;
            reason := 'unchained';
            RETURN;
        END IF;
        IF link.found IS NULL OR link.sealed <> cronsvc_audit_hash(hash, link.entry) THEN
            broken_place := link.at_place;
            broken_id := link.audit_id;
            reason := CASE WHEN link.found IS NULL THEN 'deleted' ELSE 'changed' END;
            RETURN;
        END IF;
        place := link.at_place;
        hash := link.sealed;
        checked := checked + 1;
    END LOOP;
END $$;
COMMENT ON FUNCTION cronsvc_v1.audit_verify(bigint, integer) IS 'Computes the chain anew after a place, most places at a time, up to the first that is broken: unchained (a place is missing), deleted or changed.';

CREATE FUNCTION cronsvc_v1.audit_unchained(after_id bigint DEFAULT 0, most integer DEFAULT 1000000, OUT checked bigint, OUT last_id bigint,
                                           OUT broken_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS
$$ SELECT count(*), max(a.id),
          min(a.id) FILTER (WHERE NOT EXISTS (SELECT FROM audit_chain AS c WHERE c.audit_id = a.id)
                              AND NOT EXISTS (SELECT FROM audit_unsealed AS u WHERE u.audit_id = a.id))
     FROM (SELECT id FROM audit_log WHERE id > after_id ORDER BY id LIMIT most) AS a $$;
COMMENT ON FUNCTION cronsvc_v1.audit_unchained(bigint, integer) IS 'Looks for entries after an id that neither have a place in the chain nor wait for one: put there past the triggers.';

REVOKE ALL ON FUNCTION cronsvc_v1.audit_head() FROM PUBLIC;
REVOKE ALL ON FUNCTION cronsvc_v1.audit_verify(bigint, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION cronsvc_v1.audit_unchained(bigint, integer) FROM PUBLIC;

CREATE OR REPLACE VIEW cronsvc_v1.audit AS
SELECT a.id, a.at, a.actor, a.source, a.action, a.entity, a.entity_id, a.namespace,
       CASE WHEN a.before IS NOT NULL AND a.after IS NOT NULL THEN
           ARRAY(SELECT key FROM jsonb_object_keys(a.before || a.after) AS key
                  WHERE a.before ->> key IS DISTINCT FROM a.after ->> key ORDER BY key) END AS changed,
       a.before - 'task_payload' AS before, a.after - 'task_payload' AS after, a.request_id, c.place, encode(c.hash, 'hex') AS hash
  FROM public.audit_log a LEFT JOIN public.audit_chain c ON c.audit_id = a.id;
COMMENT ON COLUMN cronsvc_v1.audit.place IS 'Its place in the chain of hashes; null for a few seconds, until it is sealed.';
