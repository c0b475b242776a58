# Secrets, audit, keys, sessions, the service itself and its probes.

#: listSecrets 200
curl "$CRONSVC_URL/api/v1/secrets" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: putSecret 200
curl -X PUT "$CRONSVC_URL/api/v1/secrets/report-token" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"value": "the token that the target knows"}'

#: deleteSecret 204 with=old_secret
curl -X DELETE "$CRONSVC_URL/api/v1/secrets/old-token" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listAudit 200 with=job
curl "$CRONSVC_URL/api/v1/audit?entity=job&limit=20" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: exportAudit 200 with=job
curl "$CRONSVC_URL/api/v1/audit/export?format=csv&from=2026-03-01T00:00:00Z" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: verifyAudit 200
curl "$CRONSVC_URL/api/v1/audit/verify" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: cleanup 200
curl "$CRONSVC_URL/api/v1/cleanup" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"gracePeriodHours": 720}'

#: getStatus 200
curl "$CRONSVC_URL/api/v1/status" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getJobsStatus 200 with=job
curl "$CRONSVC_URL/api/v1/jobs/status" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getJobsMetrics 200
curl "$CRONSVC_URL/api/v1/jobs/metrics" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getJobsHistory 200 with=failed_execution
curl "$CRONSVC_URL/api/v1/jobs/history?status=FAILED&limit=10" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getMe 200
curl "$CRONSVC_URL/api/v1/me" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listKeys 200
curl "$CRONSVC_URL/api/v1/keys" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: createKey 201
curl "$CRONSVC_URL/api/v1/keys" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"name": "report-server", "roles": {"reports": "operator"}, "expiresAt": "2099-01-01T00:00:00Z"}'

#: revokeKey 200 KEY_ID=old_key
curl -X DELETE "$CRONSVC_URL/api/v1/keys/$KEY_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listSessions 200 with=session_cookie
curl "$CRONSVC_URL/api/v1/sessions" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: endSessions 200 with=session_cookie
curl -X DELETE "$CRONSVC_URL/api/v1/sessions?actor=key:examples" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getRestore 200
curl "$CRONSVC_URL/api/v1/restore" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: confirmRestore 200 with=restored_database
curl "$CRONSVC_URL/api/v1/restore/confirm" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"mode": "skip"}'

#: getHealth 200
curl "$CRONSVC_URL/health"

#: getReady 200
curl "$CRONSVC_URL/ready"

#: getOpenapi 200
curl "$CRONSVC_URL/openapi.json"

#: getMetrics 200
curl "$CRONSVC_URL/metrics" -H "Authorization: Bearer $CRONSVC_API_KEY"
