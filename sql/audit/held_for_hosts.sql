-- Which hosts hold executions back, and why? In the last day, by host and reason (rate, concurrency, breaker): how many waited,
-- how often they were claimed in vain, how many wait now, and the longest wait so far.
-- Parameter: the span.
SELECT host, reason, count(*) AS executions, sum(times)::bigint AS times, count(*) FILTER (WHERE is_held) AS held_now,
       count(DISTINCT namespace) AS namespaces, max(held_until - held_from) AS longest, max(held_until) AS last_until
  FROM cronsvc_v1.holds
 WHERE held_from > now() - interval '1 day'
 GROUP BY host, reason
 ORDER BY held_now DESC, executions DESC, host, reason;
