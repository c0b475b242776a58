-- Which instants of the last 7 days did not run on purpose, by job and reason? misfire: seen too late (no scheduler was
-- there). overlap: the previous one was unfinished. paused: somebody had paused the job. calendar: its calendar closes that
-- day. maintenance: in a window that skips. A row may stand for a whole range; instants is a lower bound where some range was too long to be counted (uncounted_ranges).
-- Parameter: the interval.
SELECT namespace, job_name, job_id, status_reason AS reason,
       sum(CASE WHEN skipped_until IS NULL THEN 1 ELSE coalesce(skipped_count, 1) END)::bigint AS instants,
       count(*) FILTER (WHERE skipped_until IS NOT NULL AND skipped_count IS NULL) AS uncounted_ranges,
       min(scheduled_time) AS first_instant,
       max(coalesce(skipped_until, scheduled_time)) AS last_instant
  FROM cronsvc_v1.executions
 WHERE scheduled_time >= now() - interval '7 days' AND status = 'SKIPPED'
 GROUP BY namespace, job_name, job_id, status_reason
 ORDER BY instants DESC;
