-- What has failed for good in the last 7 days and was neither resolved nor retried, latest first? `lost` means that the
-- worker died holding it: whether its target was called is unknown, so look there before running it again.
-- Parameter: the interval.
SELECT id AS execution_id, namespace, job_name, job_id, scheduled_time, trigger, status_reason, attempt,
       max_attempts, end_time,
       error ->> 'type' AS error_type, error ->> 'message' AS error_message
  FROM cronsvc_v1.executions
 WHERE scheduled_time >= now() - interval '7 days' AND status = 'FAILED' AND resolved_at IS NULL
 ORDER BY scheduled_time DESC
 LIMIT 500;
