-- Indexes for lists sorted by name and by change, and whose a request's key is.
--
-- Nothing here is built concurrently, for that cannot be in a migration's transaction. The tables allow it: a million jobs
-- are indexed in about a second, the keys are those of one day, and nothing that ran this schema before had a release.
-- lock_timeout gives up rather than stand in the way of everybody; then `cronsvc migrate` is simply run again.

CREATE INDEX jobs_by_name ON jobs (name, id) WHERE deleted_at IS NULL;
CREATE INDEX jobs_by_change ON jobs (updated_at, id) WHERE deleted_at IS NULL;
COMMENT ON INDEX jobs_by_name IS 'Serves the list of jobs in the order of their names.';
COMMENT ON INDEX jobs_by_change IS 'Serves the list of jobs in the order of their last change.';

ALTER TABLE request_keys ADD COLUMN caller_hash bytea;
CREATE INDEX request_keys_callers ON request_keys (caller_hash, created_at);
COMMENT ON COLUMN request_keys.caller_hash IS 'SHA-256 of who asked; null: written by an earlier release.';
COMMENT ON INDEX request_keys_callers IS 'Serves counting the keys of one caller, which are bounded.';
