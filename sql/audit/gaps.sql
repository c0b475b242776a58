-- Is there an instant of the last 7 days that a scheduler recorded and whose row is gone? The right answer is no rows:
-- a row here means that something other than cronsvc deleted executions.
-- Parameter: the interval.
SELECT namespace, job_name, job_id, missing_time, seen_from
  FROM cronsvc_v1.gaps
 WHERE seen_from >= now() - interval '7 days'
 ORDER BY missing_time;
