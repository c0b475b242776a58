-- How big are the tables and each week's partition, how many rows are there about, and how many dead ones wait for
-- vacuum? Row counts are the statistics' estimates (-1: never analysed). Reads only the catalogue.
-- Parameters: none.
SELECT coalesce(parent.relname, c.relname) AS belongs_to, c.relname AS name,
       pg_get_expr(c.relpartbound, c.oid) AS bounds,
       pg_size_pretty(pg_total_relation_size(c.oid)) AS total,
       pg_size_pretty(pg_relation_size(c.oid)) AS rows_only,
       pg_size_pretty(pg_indexes_size(c.oid)) AS indexes,
       c.reltuples::bigint AS about_rows, s.n_dead_tup AS dead_rows, s.last_autovacuum,
       pg_total_relation_size(c.oid) AS total_bytes
  FROM pg_class c
  LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
  LEFT JOIN pg_class parent ON parent.oid = i.inhparent
  LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
   AND coalesce(parent.relname, c.relname) IN ('jobs', 'job_revisions', 'job_executions', 'job_attempts',
                                               'audit_log', 'workers', 'schedulers', 'queues', 'api_keys', 'sessions')
 ORDER BY total_bytes DESC;
