#: listQueues 200
curl "$CRONSVC_URL/api/v1/queues" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getQueue 200 with=queue
curl "$CRONSVC_URL/api/v1/queues/reports" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: putQueue 200
curl -X PUT "$CRONSVC_URL/api/v1/queues/reports" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"concurrency": 10, "ratePerMinute": 600}'

#: patchQueue 200 with=queue
curl -X PATCH "$CRONSVC_URL/api/v1/queues/reports" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/merge-patch+json" \
  -d '{"ratePerMinute": null}'

#: pauseQueue 200 with=queue
curl "$CRONSVC_URL/api/v1/queues/reports/pause" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"note": "the report server moves"}'

#: resumeQueue 200 with=queue
curl -X POST "$CRONSVC_URL/api/v1/queues/reports/resume" -H "Authorization: Bearer $CRONSVC_API_KEY"
