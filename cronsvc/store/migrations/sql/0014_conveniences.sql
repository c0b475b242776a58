-- Requests that may be sent again: a key and the answer it got.

CREATE TABLE request_keys (
    key_hash       bytea PRIMARY KEY,
    request_hash   bytea NOT NULL,
    namespaces     text[],
    claim          uuid NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    took_effect_at timestamptz,
    status         smallint,
    headers        jsonb,
    body           bytea,
    CONSTRAINT request_keys_answered CHECK (num_nulls(status, headers, body) IN (0, 3)),
    CONSTRAINT request_keys_bounded CHECK (octet_length(body) <= 1048576)
);
CREATE INDEX request_keys_created ON request_keys (created_at);
COMMENT ON TABLE request_keys IS 'Idempotency keys of requests, for 24 hours: the same key again gets the answer that is kept here.';
COMMENT ON COLUMN request_keys.key_hash IS 'SHA-256 of who asked, how far they reached, the route and the key.';
COMMENT ON COLUMN request_keys.request_hash IS 'SHA-256 of path, query and body; another request under the same key is refused.';
COMMENT ON COLUMN request_keys.namespaces IS 'How far who asked reached; null: everywhere.';
COMMENT ON COLUMN request_keys.claim IS 'The request that has the key; it changes when another takes over from one that died before it did anything.';
COMMENT ON COLUMN request_keys.took_effect_at IS 'Written by the first transaction that changed anything: from then on nobody may do it again.';
COMMENT ON COLUMN request_keys.status IS 'The answer, with headers and body; null while there is none.';
COMMENT ON INDEX request_keys_created IS 'Serves forgetting keys after 24 hours.';
ALTER TABLE request_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY request_keys_reach ON request_keys
    USING ((SELECT cronsvc_reaches_all()) OR namespaces <@ (SELECT cronsvc_reach()));
