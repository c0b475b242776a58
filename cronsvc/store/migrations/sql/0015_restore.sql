-- The fence of a restored or cloned database: who we are, remembered; nothing fires while that and what is differ.

CREATE TABLE service_identity (
    singleton         boolean PRIMARY KEY DEFAULT true,
    lineage           uuid NOT NULL DEFAULT gen_random_uuid(),
    generation        bigint NOT NULL DEFAULT 0,
    noted_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    database_oid      bigint NOT NULL,
    database_name     text NOT NULL,
    system_identifier text,
    timeline          integer,
    server_start      timestamptz NOT NULL,
    fenced_at         timestamptz,
    fence_reason      text,
    fence_detail      text,
    released_at       timestamptz,
    released_by       text,
    release_mode      text,
    CONSTRAINT service_identity_one_row CHECK (singleton),
    CONSTRAINT service_identity_reason_known CHECK (fence_reason IN ('other_server', 'other_database', 'went_back')),
    CONSTRAINT service_identity_mode_known CHECK (release_mode IN ('resume', 'skip')),
    CONSTRAINT service_identity_fence_explained CHECK ((fenced_at IS NULL) = (fence_reason IS NULL))
) WITH (fillfactor = 50);

-- Which cluster this is, and on which timeline; nulls where our role may not ask.
CREATE FUNCTION cronsvc_server(OUT system_identifier text, OUT timeline integer) LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT s.system_identifier::text, c.timeline_id INTO system_identifier, timeline
      FROM pg_control_system() AS s, pg_control_checkpoint() AS c;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END $$;

CREATE FUNCTION cronsvc_database_oid() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT d.oid::bigint FROM pg_database AS d WHERE d.datname = current_database() $$;

-- Whether nothing may fire, be dispatched or be claimed now. Every restore makes another database or starts a server, so two
-- comparisons notice each at the first statement; a process then looks closer, and clears a server that only started again.
CREATE FUNCTION cronsvc_fenced() RETURNS boolean LANGUAGE sql STABLE AS
$$ SELECT EXISTS (SELECT FROM service_identity AS s
                   WHERE s.fenced_at IS NOT NULL
                      OR s.server_start IS DISTINCT FROM pg_postmaster_start_time()
                      OR s.database_oid IS DISTINCT FROM cronsvc_database_oid()) $$;

COMMENT ON TABLE service_identity IS 'One row: which database this is, so that a restored or cloned one is noticed before it sends anything.';
COMMENT ON COLUMN service_identity.lineage IS 'Under this name Redis and the processes remember the generation; a confirmation begins a new one.';
COMMENT ON COLUMN service_identity.generation IS 'Counts up every five seconds while a scheduler runs; Redis remembers it, and it never goes down by itself.';
COMMENT ON COLUMN service_identity.noted_at IS 'When the generation was counted up.';
COMMENT ON COLUMN service_identity.database_oid IS 'Of this database; a dump restored elsewhere and a database made from a template have another.';
COMMENT ON COLUMN service_identity.system_identifier IS 'Of the cluster; null where our role may not ask.';
COMMENT ON COLUMN service_identity.timeline IS 'Of the cluster; a change alone, such as a failover, is logged and fences nothing.';
COMMENT ON COLUMN service_identity.server_start IS 'The start of the server that was last found to be the same.';
COMMENT ON COLUMN service_identity.fenced_at IS 'Since when nothing is sent until somebody confirms.';
COMMENT ON COLUMN service_identity.fence_reason IS 'other_server, other_database or went_back.';
COMMENT ON COLUMN service_identity.released_at IS 'When the last fence was confirmed; by whom and how are beside it.';
COMMENT ON FUNCTION cronsvc_server() IS 'The cluster''s identifier and timeline; nulls where the role may not ask.';
COMMENT ON FUNCTION cronsvc_database_oid() IS 'The oid of this database.';
COMMENT ON FUNCTION cronsvc_fenced() IS 'Whether nothing may fire or be claimed, because this may be a restored or cloned database.';
