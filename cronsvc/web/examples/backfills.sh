#: backfillJob 202
curl "$CRONSVC_URL/api/v1/jobs/$JOB_ID/backfill" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d @- <<JSON
{"from": "$FROM", "to": "$TO", "mode": "missing", "maxParallel": 2, "note": "the target was down"}
JSON

#: listBackfills 200 with=backfill
curl "$CRONSVC_URL/api/v1/backfills?status=running" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getBackfill 200
curl "$CRONSVC_URL/api/v1/backfills/$BACKFILL_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: pauseBackfill 200
curl -X POST "$CRONSVC_URL/api/v1/backfills/$BACKFILL_ID/pause" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: resumeBackfill 200 BACKFILL_ID=paused_backfill
curl -X POST "$CRONSVC_URL/api/v1/backfills/$BACKFILL_ID/resume" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: cancelBackfill 200
curl -X POST "$CRONSVC_URL/api/v1/backfills/$BACKFILL_ID/cancel" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: recover 202
curl "$CRONSVC_URL/api/v1/recoveries" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d @- <<JSON
{"from": "$FROM", "to": "$TO", "selector": {"tags": ["reports"]}, "note": "the database was away"}
JSON

#: listRecoveries 200 with=recovery
curl "$CRONSVC_URL/api/v1/recoveries" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getRecovery 200
curl "$CRONSVC_URL/api/v1/recoveries/$RECOVERY_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: cancelRecovery 200
curl -X POST "$CRONSVC_URL/api/v1/recoveries/$RECOVERY_ID/cancel" -H "Authorization: Bearer $CRONSVC_API_KEY"
