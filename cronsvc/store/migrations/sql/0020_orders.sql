-- Indexes for lists sorted by name and by change, and whose a request's key is.
--
-- The indexes on jobs have been built beside the service, before this.

COMMENT ON INDEX jobs_groups IS 'Serves the list of groups, and the jobs of one.';
COMMENT ON INDEX jobs_templates IS 'Serves the jobs that were made from a template.';
COMMENT ON INDEX jobs_by_name IS 'Serves the list of jobs in the order of their names.';
COMMENT ON INDEX jobs_by_change IS 'Serves the list of jobs in the order of their last change.';

ALTER TABLE request_keys ADD COLUMN caller_hash bytea;
CREATE INDEX request_keys_callers ON request_keys (caller_hash, created_at);
COMMENT ON COLUMN request_keys.caller_hash IS 'SHA-256 of who asked; null: written by an earlier release.';
COMMENT ON INDEX request_keys_callers IS 'Serves counting the keys of one caller, which are bounded.';
