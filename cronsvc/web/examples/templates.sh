# Templates of jobs, groups, and what many jobs have in common.

#: createTemplate 201
curl "$CRONSVC_URL/api/v1/templates" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{
    "name": "customer-sync",
    "description": "One sync for each customer, every morning",
    "parameters": [
      {"name": "customer"},
      {"name": "hour", "type": "integer", "default": 6}
    ],
    "definition": {
      "name": "sync ${customer}",
      "group": "sync",
      "cronExpression": "30 ${hour} * * *",
      "taskPayload": {"type": "API_CALL", "config": {"url": "https://api.example.com/sync/${customer}", "method": "POST"}}
    }
  }'

#: listTemplates 200
curl "$CRONSVC_URL/api/v1/templates?sort=name&limit=20" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getTemplate 200
curl "$CRONSVC_URL/api/v1/templates/$TEMPLATE_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: replaceTemplate 200
curl -X PUT "$CRONSVC_URL/api/v1/templates/$TEMPLATE_ID" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" -H 'If-Match: "1"' \
  -d '{
    "name": "nightly-report",
    "parameters": [{"name": "team"}],
    "definition": {
      "name": "report ${team}",
      "cronExpression": "0 3 * * *",
      "timeoutSeconds": 300,
      "taskPayload": {"type": "API_CALL", "config": {"url": "https://api.example.com/report", "params": {"team": "${team}"}}}
    }
  }'

#: deleteTemplate 204
curl -X DELETE "$CRONSVC_URL/api/v1/templates/$TEMPLATE_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listTemplateRevisions 200
curl "$CRONSVC_URL/api/v1/templates/$TEMPLATE_ID/revisions" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: createJobFromTemplate 201
curl "$CRONSVC_URL/api/v1/templates/$TEMPLATE_ID/jobs" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"values": {"team": "billing"}, "overrides": {"tags": ["finance"], "maxAttempts": 5}}'

#: applyTemplate 200 TEMPLATE_ID=changed_template
curl "$CRONSVC_URL/api/v1/templates/$TEMPLATE_ID/apply" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"dryRun": true}'

#: listGroups 200 with=job
curl "$CRONSVC_URL/api/v1/groups?namespace=default" -H "Authorization: Bearer $CRONSVC_API_KEY"
