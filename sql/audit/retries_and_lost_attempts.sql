-- Which jobs needed more than one try in the last 24 hours, and why? `lost`: a worker died holding it. `released`: a
-- worker that shut down cut it short. `recovered`: how many executions ended well after a try that had not.
-- Parameter: the interval (twice, so that both tables are read only that far back).
SELECT a.namespace, a.job_name, a.job_id,
       count(DISTINCT a.execution_id) AS executions,
       count(*) AS attempts,
       count(*) FILTER (WHERE a.attempt > 1) AS retries,
       count(*) FILTER (WHERE a.outcome = 'error') AS errors,
       count(*) FILTER (WHERE a.outcome = 'timeout') AS timeouts,
       count(*) FILTER (WHERE a.outcome = 'lost') AS lost,
       count(*) FILTER (WHERE a.outcome = 'released') AS released,
       count(DISTINCT a.execution_id) FILTER (WHERE a.outcome <> 'success' AND e.status = 'SUCCESS') AS recovered
  FROM cronsvc_v1.attempts a
  JOIN cronsvc_v1.executions e
    ON e.job_id = a.job_id AND e.scheduled_time = a.scheduled_time
   AND e.scheduled_time >= now() - interval '24 hours'
 WHERE a.scheduled_time >= now() - interval '24 hours'
 GROUP BY a.namespace, a.job_name, a.job_id
HAVING count(*) FILTER (WHERE a.attempt > 1 OR a.outcome IN ('lost', 'released')) > 0
 ORDER BY retries DESC, lost DESC;
