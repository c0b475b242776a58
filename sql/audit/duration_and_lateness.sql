-- How long do the jobs take, how late do they start, how long do they wait for a worker? Medians, 95th and 99th
-- percentiles by job over the last 24 hours, slowest first. Duration is that of the last attempt; lateness and waiting
-- are those of the first, so retries do not count as late. Scheduled firings that ended; manual runs are left out.
-- Parameter: the interval (twice, so that both tables are read only that far back).
SELECT e.namespace, e.job_name, e.job_id, count(*) AS runs,
       round((percentile_cont(0.50) WITHIN GROUP (ORDER BY e.duration_ms))::numeric) AS duration_p50_ms,
       round((percentile_cont(0.95) WITHIN GROUP (ORDER BY e.duration_ms))::numeric) AS duration_p95_ms,
       round((percentile_cont(0.99) WITHIN GROUP (ORDER BY e.duration_ms))::numeric) AS duration_p99_ms,
       round((percentile_cont(0.50) WITHIN GROUP (ORDER BY f.late_ms))::numeric) AS lateness_p50_ms,
       round((percentile_cont(0.95) WITHIN GROUP (ORDER BY f.late_ms))::numeric) AS lateness_p95_ms,
       round((percentile_cont(0.99) WITHIN GROUP (ORDER BY f.late_ms))::numeric) AS lateness_p99_ms,
       round((percentile_cont(0.50) WITHIN GROUP (ORDER BY a.wait_seconds))::numeric * 1000) AS wait_p50_ms,
       round((percentile_cont(0.99) WITHIN GROUP (ORDER BY a.wait_seconds))::numeric * 1000) AS wait_p99_ms
  FROM cronsvc_v1.executions e
  JOIN cronsvc_v1.attempts a
    ON a.job_id = e.job_id AND a.scheduled_time = e.scheduled_time AND a.attempt = 1
   AND a.scheduled_time >= now() - interval '24 hours'
 CROSS JOIN LATERAL (SELECT extract(epoch FROM a.start_time - e.scheduled_time) * 1000 AS late_ms) f
 WHERE e.scheduled_time >= now() - interval '24 hours'
   AND e.trigger = 'schedule' AND e.status IN ('SUCCESS', 'FAILED')
 GROUP BY e.namespace, e.job_name, e.job_id
 ORDER BY duration_p95_ms DESC;
