-- Which jobs should have fired more than a minute ago and have not, or have a change that no scheduler has looked at?
-- Rows here mean that no scheduler runs, or that the ones there are cannot keep up.
-- Parameter: the minute (twice).
SELECT namespace, name, id AS job_id, next_fire_time, now() - next_fire_time AS overdue, is_armed, updated_at
  FROM cronsvc_v1.jobs
 WHERE state = 'active'
   AND (next_fire_time < now() - interval '1 minute' OR (NOT is_armed AND updated_at < now() - interval '1 minute'))
 ORDER BY coalesce(next_fire_time, updated_at)
 LIMIT 200;
