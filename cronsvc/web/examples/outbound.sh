# Whom jobs may call, how much, and what waits for it.

#: putEgress 200
curl -X PUT "$CRONSVC_URL/api/v1/egress/payments" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"hosts": ["api.example.com", "*.bank.example"], "networks": ["8.8.8.0/24"]}'

#: getEgress 200 with=egress_list
curl "$CRONSVC_URL/api/v1/egress/payments" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listEgress 200 with=egress_list
curl "$CRONSVC_URL/api/v1/egress" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: deleteEgress 204 with=egress_list
curl -X DELETE "$CRONSVC_URL/api/v1/egress/payments" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: putHost 200
curl -X PUT "$CRONSVC_URL/api/v1/hosts/api.example.com" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"callsPerSecond": 10, "maxConcurrent": 4, "breakerFailures": 5, "breakerOpenSeconds": 60}'

#: getHost 200 with=host
curl "$CRONSVC_URL/api/v1/hosts/api.example.com" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listHosts 200 with=host
curl "$CRONSVC_URL/api/v1/hosts" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: tripHost 200
curl "$CRONSVC_URL/api/v1/hosts/api.example.com/trip" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"seconds": 600, "note": "their database is being moved"}'

#: resetHost 200 with=host
curl -X POST "$CRONSVC_URL/api/v1/hosts/api.example.com/reset" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: deleteHost 204 with=host
curl -X DELETE "$CRONSVC_URL/api/v1/hosts/api.example.com" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: listHolds 200
curl "$CRONSVC_URL/api/v1/holds?host=api.example.com&limit=20" -H "Authorization: Bearer $CRONSVC_API_KEY"
