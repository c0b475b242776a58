-- How deep is each queue: ready and waiting for a worker, held back by jitter or backoff, running; how old is the oldest
-- ready one; and how many slots have the living workers that served it when they started (shared with other queues)?
-- Parameters: none. Reads only unfinished rows, along the partial indexes.
WITH unfinished AS (
    SELECT queue, status, ready_at FROM cronsvc_v1.executions WHERE status = 'QUEUED'
     UNION ALL
    SELECT queue, status, ready_at FROM cronsvc_v1.executions WHERE status = 'RUNNING'
), depth AS (
    SELECT queue,
           count(*) FILTER (WHERE status = 'QUEUED' AND ready_at <= now()) AS ready,
           count(*) FILTER (WHERE status = 'QUEUED' AND ready_at > now()) AS held_back,
           count(*) FILTER (WHERE status = 'RUNNING') AS running,
           now() - min(ready_at) FILTER (WHERE status = 'QUEUED' AND ready_at <= now()) AS oldest_wait
      FROM unfinished GROUP BY queue
), slots AS (
    SELECT queue, count(*) AS workers, sum(concurrency) AS slots
      FROM cronsvc_v1.workers CROSS JOIN LATERAL unnest(queues) AS queue
     WHERE is_alive AND state = 'active' GROUP BY queue
)
SELECT q.name AS queue, coalesce(d.ready, 0) AS ready, coalesce(d.held_back, 0) AS held_back,
       coalesce(d.running, 0) AS running, d.oldest_wait, coalesce(s.workers, 0) AS workers, coalesce(s.slots, 0) AS slots,
       q.paused_at
  FROM cronsvc_v1.queues q
  LEFT JOIN depth d ON d.queue = q.name
  LEFT JOIN slots s ON s.queue = q.name
 ORDER BY d.oldest_wait DESC NULLS LAST, q.name;
