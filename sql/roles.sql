-- A role for people who look: it may read the views of cronsvc_v1 and nothing else. No table, no key, no configuration of
-- what jobs run; what targets answered (result, error, response_excerpt) can be read.
--
-- Not part of `cronsvc migrate`, because managed Postgres may not let the service create roles. Run it once in the
-- database of cronsvc, as the role that runs `cronsvc migrate` (or have somebody else create the role first: then only
-- the GRANTs are left to do). Running it again changes nothing.
--
--     psql "$DATABASE_URL" -f sql/roles.sql
--     psql "$DATABASE_URL" -c 'GRANT cronsvc_auditor TO alice'

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cronsvc_auditor') THEN
        CREATE ROLE cronsvc_auditor NOLOGIN;
    END IF;
END $$;

GRANT USAGE ON SCHEMA cronsvc_v1 TO cronsvc_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA cronsvc_v1 TO cronsvc_auditor;

-- Views of later releases: holds for what the role that runs this creates, hence "as the role that migrates".
ALTER DEFAULT PRIVILEGES IN SCHEMA cronsvc_v1 GRANT SELECT ON TABLES TO cronsvc_auditor;
