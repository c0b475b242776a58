-- Which jobs do not fire, and why? quarantined: no scheduler can plan it, edit its schedule. paused: by whom, since when,
-- until when. inactive: switched off in its definition.
-- Parameters: none.
SELECT state, namespace, name, id AS job_id,
       coalesce(quarantine_reason, pause_note) AS reason, paused_by, paused_at, paused_until,
       last_fire_time, updated_at
  FROM cronsvc_v1.jobs
 WHERE state IN ('quarantined', 'paused', 'inactive')
 ORDER BY state = 'quarantined' DESC, paused_at, namespace, name;
