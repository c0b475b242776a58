# Jobs. Each of these is shown on the docs page and run by a test, as it stands here.

#: createJob 201
curl "$CRONSVC_URL/api/v1/jobs" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -H "Idempotency-Key: create-daily-report-1" \
  -d '{
    "name": "Daily report",
    "cronExpression": "0 9 * * 1-5",
    "timezone": "Europe/London",
    "tags": ["reports"],
    "taskPayload": {
      "type": "API_CALL",
      "config": {
        "url": "https://api.example.com/generate-report",
        "method": "POST",
        "data": {"kind": "daily"}
      }
    }
  }'

#: listJobs 200
curl -G "$CRONSVC_URL/api/v1/jobs" -H "Authorization: Bearer $CRONSVC_API_KEY" \
  -d tag=reports -d isActive=true -d sort=name -d limit=20

#: getJob 200
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: replaceJob 200
curl -X PUT "$CRONSVC_URL/api/v1/jobs/$JOB_ID" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" -H 'If-Match: "1"' \
  -d '{
    "name": "Weekly report",
    "cronExpression": "0 9 * * 1",
    "taskPayload": {"type": "API_CALL", "config": {"url": "https://api.example.com/generate-report"}}
  }'

#: patchJob 200
curl -X PATCH "$CRONSVC_URL/api/v1/jobs/$JOB_ID?dryRun=true" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/merge-patch+json" \
  -d '{"cronExpression": "30 8 * * *", "timezone": "America/New_York"}'

#: deleteJob 204
curl -X DELETE "$CRONSVC_URL/api/v1/jobs/$JOB_ID" -H "Authorization: Bearer $CRONSVC_API_KEY" -H 'If-Match: "1"'

#: triggerJob 202
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/trigger" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -H "Idempotency-Key: report-of-march-8" \
  -d '{"params": {"data": {"kind": "daily", "day": "2026-03-08"}}}'

#: triggerJobByName 202 with=named_job
curl "$CRONSVC_URL/api/v1/jobs/trigger" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"name": "Month end", "params": {"data": {"month": "2026-03"}}}'

#: triggerNamedJob 202 with=named_job
curl "$CRONSVC_URL/api/v1/jobs/trigger/Month%20end" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"data": {"month": "2026-03"}}'

#: pauseJob 200
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/pause" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d @- <<JSON
{"note": "the report server moves", "until": "$UNTIL"}
JSON

#: resumeJob 200 JOB_ID=paused_job
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/resume" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"catchUp": true}'

#: changeJobs 200 with=job
curl "$CRONSVC_URL/api/v1/jobs/bulk" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"action": "update", "selector": {"tags": ["reports"]}, "patch": {"maxAttempts": 5}, "dryRun": true}'

#: pauseJobs 200
curl "$CRONSVC_URL/api/v1/jobs/pause" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"tags": ["nightly"], "note": "the warehouse is being rebuilt"}'

#: resumeJobs 200
curl "$CRONSVC_URL/api/v1/jobs/resume" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"tags": ["nightly"]}'

#: listJobExecutions 200
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/executions?status=FAILED&limit=10" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listUpcoming 200
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/upcoming?count=5" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getJobStatistics 200
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/statistics" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listRevisions 200
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/revisions" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: explainJob 200
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/explain?at=2026-03-08T09:00" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getJobDependencies 200
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/dependencies" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: cleanupJobs 200
curl "$CRONSVC_URL/api/v1/jobs/cleanup" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"gracePeriodHours": 720}'

#: previewSchedule 200
curl "$CRONSVC_URL/api/v1/schedules/preview" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"cronExpression": "30 2 * * *", "timezone": "America/New_York", "after": "2026-03-07T00:00:00Z", "count": 3}'
