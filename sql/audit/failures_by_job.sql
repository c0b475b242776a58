-- Which jobs failed in the last 24 hours, how often, of how many that ended, and with which error the latest one?
-- Parameter: the interval.
SELECT namespace, job_name, job_id,
       count(*) FILTER (WHERE status = 'FAILED') AS failed,
       count(*) FILTER (WHERE status IN ('SUCCESS', 'FAILED')) AS ended,
       round(100.0 * count(*) FILTER (WHERE status = 'FAILED')
             / count(*) FILTER (WHERE status IN ('SUCCESS', 'FAILED')), 1) AS failed_percent,
       count(*) FILTER (WHERE status_reason = 'timeout') AS timeouts,
       count(*) FILTER (WHERE status_reason = 'lost') AS lost,
       max(scheduled_time) FILTER (WHERE status = 'FAILED') AS last_failure,
       (array_agg(error ->> 'type' ORDER BY scheduled_time DESC)
            FILTER (WHERE status = 'FAILED'))[1] AS last_error_type,
       (array_agg(error ->> 'message' ORDER BY scheduled_time DESC)
            FILTER (WHERE status = 'FAILED'))[1] AS last_error
  FROM cronsvc_v1.executions
 WHERE scheduled_time >= now() - interval '24 hours'
 GROUP BY namespace, job_name, job_id
HAVING count(*) FILTER (WHERE status = 'FAILED') > 0
 ORDER BY failed DESC, last_failure DESC;
