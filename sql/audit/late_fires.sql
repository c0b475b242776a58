-- Which firings of the last 24 hours began more than 5 seconds after their instant, and what made them late?
-- recorded_late: no scheduler was there in time. waited: no worker was free, or the ticket had to be repeated
-- (dispatches). Jitter counts as neither. Only first attempts: what a retry adds is in retries_and_lost_attempts.sql.
-- Parameters: the interval (twice, so that both tables are read only that far back), and the 5 seconds.
SELECT e.namespace, e.job_name, e.job_id, e.id AS execution_id, e.scheduled_time, e.status,
       f.started - e.scheduled_time AS late,
       e.queued_at - e.scheduled_time AS recorded_late,
       f.started - f.ready AS waited,
       e.dispatches
  FROM cronsvc_v1.executions e
  LEFT JOIN cronsvc_v1.attempts a
         ON a.job_id = e.job_id AND a.scheduled_time = e.scheduled_time AND a.attempt = 1
        AND a.scheduled_time >= now() - interval '24 hours'
 CROSS JOIN LATERAL (SELECT coalesce(a.start_time, e.start_time) AS started,
                            coalesce(a.queued_at, e.ready_at) AS ready) f
 WHERE e.scheduled_time >= now() - interval '24 hours'
   AND e.trigger = 'schedule' AND e.status <> 'SKIPPED'
   AND f.started > e.scheduled_time + interval '5 seconds'
 ORDER BY late DESC
 LIMIT 200;
