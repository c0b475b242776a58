-- Which active jobs had something to do in the last 24 hours and did not succeed once? With the last success within
-- 30 days, if there was one, and what the latest execution of the day says.
-- Parameters: the interval of the first part, and the 30 days.
WITH recent AS (
    SELECT job_id, count(*) AS executions,
           count(*) FILTER (WHERE status = 'FAILED') AS failed,
           count(*) FILTER (WHERE status = 'SKIPPED') AS skipped,
           (array_agg(status ORDER BY scheduled_time DESC))[1] AS latest_status,
           (array_agg(error ->> 'message' ORDER BY scheduled_time DESC))[1] AS latest_error
      FROM cronsvc_v1.executions
     WHERE scheduled_time >= now() - interval '24 hours'
     GROUP BY job_id
    HAVING count(*) FILTER (WHERE status = 'SUCCESS') = 0
)
SELECT j.namespace, j.name, j.id AS job_id, s.last_success, r.executions, r.failed, r.skipped,
       r.latest_status, r.latest_error
  FROM recent r
  JOIN cronsvc_v1.jobs j ON j.id = r.job_id AND j.state = 'active'
  LEFT JOIN LATERAL (
       SELECT e.scheduled_time AS last_success
         FROM cronsvc_v1.executions e
        WHERE e.job_id = j.id AND e.status = 'SUCCESS' AND e.scheduled_time >= now() - interval '30 days'
        ORDER BY e.scheduled_time DESC LIMIT 1) AS s ON true
 ORDER BY s.last_success NULLS FIRST, j.namespace, j.name;
