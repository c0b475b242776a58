-- Who created, changed, paused, resumed or deleted what in the last 7 days, latest first? changed lists the fields;
-- before and after have their values (except what a job sends: it may hold credentials).
-- Parameters: the interval, and how many entries are looked at (they are found by id, newest first).
SELECT at, actor, source, action, entity, entity_id, namespace, coalesce(after, before) ->> 'name' AS name, changed,
       before, after
  FROM (SELECT * FROM cronsvc_v1.audit ORDER BY id DESC LIMIT 1000) AS latest
 WHERE at >= now() - interval '7 days'
 ORDER BY id DESC;
