-- Which worker and scheduler processes are there, and which were lost? A worker is alive while it holds a lease; a
-- scheduler when it was heard of in the last 30 seconds.
-- Parameter: the 30 seconds.
SELECT 'worker' AS kind, name, id, version,
       CASE WHEN state = 'active' AND NOT is_alive THEN 'lease run out' ELSE state END AS state,
       is_alive, running, concurrency, queues, started_at, heartbeat_at, now() - heartbeat_at AS silence
  FROM cronsvc_v1.workers
 UNION ALL
SELECT 'scheduler', name, id, version, CASE WHEN alive THEN 'active' ELSE 'silent' END, alive, NULL, NULL, NULL,
       started_at, heartbeat_at, now() - heartbeat_at
  FROM (SELECT *, heartbeat_at > now() - interval '30 seconds' AS alive FROM cronsvc_v1.schedulers) AS heard
 ORDER BY kind, is_alive DESC, heartbeat_at DESC;
