-- What is waiting and running right now, oldest first? since: when it became ready, or when its attempt began. A waiting
-- row with a negative age is held back by jitter or backoff. No bound on scheduled_time is needed: the two partial
-- indexes hold unfinished rows only (which is why this is two questions and not one with IN).
-- Parameter: the limit.
SELECT status, namespace, job_name, job_id, id AS execution_id, scheduled_time, queue, priority, attempt, max_attempts,
       dispatches, worker_id, since, now() - since AS age
  FROM (SELECT *, ready_at AS since FROM cronsvc_v1.executions WHERE status = 'QUEUED'
         UNION ALL
        SELECT *, start_time FROM cronsvc_v1.executions WHERE status = 'RUNNING') AS unfinished
 ORDER BY since
 LIMIT 200;
