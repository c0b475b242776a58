-- Egress lists by namespace, budgets and breakers by host, and every held fire.

CREATE TABLE egress_lists (
    namespace  text NOT NULL,
    layer      text NOT NULL,
    hosts      text[] NOT NULL DEFAULT '{}',
    networks   cidr[] NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by text NOT NULL DEFAULT cronsvc_actor(),
    PRIMARY KEY (namespace, layer),
    CONSTRAINT egress_lists_namespace CHECK (namespace ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    CONSTRAINT egress_lists_layer CHECK (layer IN ('service', 'namespace')),
    CONSTRAINT egress_lists_bounded CHECK (cardinality(hosts) + cardinality(networks) BETWEEN 1 AND 200)
);

ALTER TABLE egress_lists ENABLE ROW LEVEL SECURITY;
CREATE POLICY egress_lists_read ON egress_lists FOR SELECT
    USING ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[]));
CREATE POLICY egress_lists_write ON egress_lists
    USING ((SELECT cronsvc_reaches_all()) OR (layer = 'namespace' AND namespace = ANY ((SELECT cronsvc_reach())::text[])));

CREATE TABLE target_hosts (
    host                 text PRIMARY KEY,
    calls_per_second     integer,
    calls_per_minute     integer,
    max_concurrent       integer,
    breaker_failures     integer,
    breaker_open_seconds integer NOT NULL DEFAULT 30,
    updated_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by           text NOT NULL DEFAULT cronsvc_actor(),
    state                text NOT NULL DEFAULT 'closed',
    failures             integer NOT NULL DEFAULT 0,
    changed_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    open_until           timestamptz,
    tripped_by           text,
    note                 text,
    probe_job_id         bigint,
    probe_time           timestamptz,
    probe_claim          integer,
    CONSTRAINT target_hosts_host CHECK (host <> '' AND host = lower(host) AND length(host) <= 253),
    CONSTRAINT target_hosts_limits CHECK (calls_per_second >= 1 AND calls_per_minute >= 1 AND max_concurrent >= 1),
    CONSTRAINT target_hosts_breaker CHECK (breaker_failures >= 1 AND breaker_open_seconds >= 1),
    CONSTRAINT target_hosts_state CHECK (state IN ('closed', 'open', 'half_open')),
    CONSTRAINT target_hosts_probe CHECK ((state = 'half_open') = (probe_claim IS NOT NULL)
                                         AND num_nulls(probe_job_id, probe_time, probe_claim) IN (0, 3))
) WITH (fillfactor = 50);

CREATE TABLE host_calls (
    host           text NOT NULL REFERENCES target_hosts ON DELETE CASCADE,
    job_id         bigint NOT NULL,
    scheduled_time timestamptz NOT NULL,
    claim_no       integer NOT NULL,
    began_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at       timestamptz,
    PRIMARY KEY (job_id, scheduled_time, claim_no)
);
CREATE INDEX host_calls_began ON host_calls (host, began_at);
CREATE INDEX host_calls_open ON host_calls (host) WHERE ended_at IS NULL;

CREATE TABLE host_holds (
    job_id         bigint NOT NULL,
    scheduled_time timestamptz NOT NULL,
    host           text NOT NULL,
    reason         text NOT NULL,
    execution_id   bigint NOT NULL,
    namespace      text NOT NULL,
    claim_no       integer NOT NULL,
    times          integer NOT NULL DEFAULT 1,
    held_from      timestamptz NOT NULL DEFAULT clock_timestamp(),
    held_until     timestamptz NOT NULL,
    PRIMARY KEY (job_id, scheduled_time, host, reason),
    CONSTRAINT host_holds_reason CHECK (reason IN ('rate', 'concurrency', 'breaker'))
) WITH (fillfactor = 70);
CREATE INDEX host_holds_host ON host_holds (host, held_until);
CREATE INDEX host_holds_from ON host_holds (held_from, execution_id);
CREATE INDEX host_holds_execution ON host_holds (execution_id);

ALTER TABLE host_holds ENABLE ROW LEVEL SECURITY;
CREATE POLICY host_holds_reach ON host_holds
    USING ((SELECT cronsvc_reaches_all()) OR namespace = ANY ((SELECT cronsvc_reach())::text[]));

CREATE VIEW cronsvc_v1.holds AS
SELECT h.execution_id, h.job_id, h.namespace, h.scheduled_time, h.host, h.reason, h.times, h.held_from, h.held_until,
       h.held_until > clock_timestamp() AND EXISTS (
           SELECT FROM public.job_executions e
            WHERE e.job_id = h.job_id AND e.scheduled_time = h.scheduled_time AND e.status = 'QUEUED'
              AND e.claim_no = h.claim_no) AS is_held
  FROM public.host_holds h;

CREATE VIEW cronsvc_v1.hosts AS
SELECT host, calls_per_second, calls_per_minute, max_concurrent, breaker_failures, breaker_open_seconds, updated_at, updated_by,
       state, failures, changed_at, open_until, tripped_by, note
  FROM public.target_hosts;

CREATE VIEW cronsvc_v1.egress_lists AS
SELECT namespace, layer, hosts, networks, updated_at, updated_by FROM public.egress_lists;

COMMENT ON TABLE egress_lists IS 'Which targets the jobs of a namespace may call. No row: every permitted one. Two rows: what both permit.';
COMMENT ON COLUMN egress_lists.layer IS 'service: set by an administrator of everything; namespace: by one of the namespace, who can only narrow it further.';
COMMENT ON COLUMN egress_lists.hosts IS 'Names in lower case; *.example.com is every name below example.com, and not itself.';
COMMENT ON TABLE target_hosts IS 'Hosts whose calls are counted: budgets, breaker, and the state of the breaker. Nothing is counted for a host without a row.';
COMMENT ON COLUMN target_hosts.calls_per_second IS 'Calls that begin in any second, by all jobs and workers; null: as many as there are.';
COMMENT ON COLUMN target_hosts.calls_per_minute IS 'Calls that begin in any minute.';
COMMENT ON COLUMN target_hosts.max_concurrent IS 'Calls that run at a time.';
COMMENT ON COLUMN target_hosts.breaker_failures IS 'The breaker opens after so many failures in a row; null: only by hand.';
COMMENT ON COLUMN target_hosts.breaker_open_seconds IS 'How long it stays open before one call tries the host.';
COMMENT ON COLUMN target_hosts.state IS 'closed, open (calls are held), half_open (one call tries the host).';
COMMENT ON COLUMN target_hosts.failures IS 'In a row, since the last success or change of state.';
COMMENT ON COLUMN target_hosts.changed_at IS 'Since when it is in this state; half_open: since when the call runs that tries the host.';
COMMENT ON COLUMN target_hosts.open_until IS 'When a call may try the host; null while it is open: when somebody resets it.';
COMMENT ON COLUMN target_hosts.tripped_by IS 'Who opened it by hand; null: failures did.';
COMMENT ON COLUMN target_hosts.probe_claim IS 'With probe_job_id and probe_time the attempt that tries the host. It counts while that attempt runs.';
COMMENT ON TABLE host_calls IS 'Calls to hosts with a budget that began in the last minutes: the budgets are counted here.';
COMMENT ON COLUMN host_calls.ended_at IS 'Written soon after the end; a call whose attempt does not run any more has ended without it.';
COMMENT ON INDEX host_calls_began IS 'Serves the count of calls in a second or a minute, and forgetting them.';
COMMENT ON INDEX host_calls_open IS 'Serves the count of calls that run.';
COMMENT ON TABLE host_holds IS 'Executions that waited for a host: one row for each, with host and reason. No attempt was spent on it and nothing was sent.';
COMMENT ON COLUMN host_holds.reason IS 'rate, concurrency or breaker.';
COMMENT ON COLUMN host_holds.claim_no IS 'The claim that was given back; while the execution is QUEUED with it, it is held.';
COMMENT ON COLUMN host_holds.times IS 'How often it was claimed and given back.';
COMMENT ON COLUMN host_holds.held_until IS 'When it is, or was, to be looked at again.';
COMMENT ON INDEX host_holds_host IS 'Serves the count of what waits for a host, and its release.';
COMMENT ON INDEX host_holds_from IS 'Serves the list of holds, newest first, and forgetting them.';
COMMENT ON INDEX host_holds_execution IS 'Serves the holds of one execution.';
COMMENT ON VIEW cronsvc_v1.holds IS 'Executions that waited for a host: which, why, since when and until when.';
COMMENT ON COLUMN cronsvc_v1.holds.is_held IS 'It waits now.';
COMMENT ON VIEW cronsvc_v1.hosts IS 'Hosts with a budget or a breaker, and whether it is open.';
COMMENT ON VIEW cronsvc_v1.egress_lists IS 'Which targets the jobs of a namespace may call, by layer.';
