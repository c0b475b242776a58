# Executions, dead letters and what targets report.

#: listExecutions 200 with=failed_execution
curl -G "$CRONSVC_URL/api/v1/executions" -H "Authorization: Bearer $CRONSVC_API_KEY" \
  -d status=FAILED -d fields=id,jobId,scheduledTime,error -d limit=20

#: getExecution 200
curl "$CRONSVC_URL/api/v1/executions/$EXECUTION_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getProgress 200
curl "$CRONSVC_URL/api/v1/executions/$EXECUTION_ID/progress" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: cancelExecution 202
curl "$CRONSVC_URL/api/v1/executions/$EXECUTION_ID/cancel" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"note": "wrong month"}'

#: retryExecution 202 EXECUTION_ID=failed_execution
curl -X POST "$CRONSVC_URL/api/v1/executions/$EXECUTION_ID/retry" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listChildren 200
curl "$CRONSVC_URL/api/v1/executions/$EXECUTION_ID/children" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listDeadLetters 200 with=failed_execution
curl "$CRONSVC_URL/api/v1/dead-letters?queue=default" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: redriveDeadLetter 202 EXECUTION_ID=failed_execution
curl -X POST "$CRONSVC_URL/api/v1/dead-letters/$EXECUTION_ID/redrive" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: resolveDeadLetter 200 EXECUTION_ID=failed_execution
curl "$CRONSVC_URL/api/v1/dead-letters/$EXECUTION_ID/resolve" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"note": "sent by hand"}'

#: redriveDeadLetters 200 with=failed_execution
curl "$CRONSVC_URL/api/v1/dead-letters/redrive" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"queue": "default", "since": "2026-03-08T00:00:00Z", "limit": 100}'

#: resolveDeadLetters 200 with=failed_execution
curl "$CRONSVC_URL/api/v1/dead-letters/resolve" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"queue": "default", "note": "the target was down; nothing was lost"}'

#: reportProgress 200
curl "$CRONSVC_URL/api/v1/callbacks/$CALLBACK_TOKEN/progress" -H "Content-Type: application/json" \
  -d '{"progress": 40, "note": "table 4 of 10", "log": ["orders done", {"message": "slow", "level": "warning"}]}'

#: completeExecution 200
curl "$CRONSVC_URL/api/v1/callbacks/$CALLBACK_TOKEN/complete" -H "Content-Type: application/json" \
  -d '{"status": "success", "result": {"tables": 10}}'

#: reportProgressOfExecution 200 EXECUTION_ID=awaiting_execution
curl "$CRONSVC_URL/api/v1/executions/$EXECUTION_ID/progress" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"progress": 75, "note": "seen in the log of the target"}'

#: completeExecutionById 200 EXECUTION_ID=awaiting_execution
curl "$CRONSVC_URL/api/v1/executions/$EXECUTION_ID/complete" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"status": "failure", "error": {"type": "disk_full", "message": "no room left"}, "retry": false}'
