# Calendars and maintenance windows.

#: createCalendar 201
curl "$CRONSVC_URL/api/v1/calendars" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{
    "name": "bank-days",
    "weekend": ["saturday", "sunday"],
    "dates": [{"date": "2026-12-25", "label": "Christmas Day"}]
  }'

#: listCalendars 200
curl "$CRONSVC_URL/api/v1/calendars" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getCalendar 200
curl "$CRONSVC_URL/api/v1/calendars/$CALENDAR_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: replaceCalendar 200 CALENDAR_ID=works_holidays
curl -X PUT "$CRONSVC_URL/api/v1/calendars/$CALENDAR_ID" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"name": "works-holidays", "weekend": ["sunday"], "dates": [{"date": "2026-08-03"}, {"date": "2026-08-04"}]}'

#: importCalendar 201
curl -X PUT "$CRONSVC_URL/api/v1/calendars/uk-holidays/import" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: text/calendar" \
  --data-binary @- <<'ICS'
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//example//holidays//EN
BEGIN:VEVENT
UID:2026-12-25@example.com
DTSTAMP:20260101T000000Z
DTSTART;VALUE=DATE:20261225
SUMMARY:Christmas Day
END:VEVENT
END:VCALENDAR
ICS

#: deleteCalendar 204
curl -X DELETE "$CRONSVC_URL/api/v1/calendars/$CALENDAR_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: createMaintenanceWindow 201
curl "$CRONSVC_URL/api/v1/maintenance-windows" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{
    "name": "Sunday patches",
    "cronExpression": "0 3 * * 0",
    "timezone": "Europe/London",
    "durationSeconds": 7200,
    "during": "hold",
    "tags": ["reports"],
    "reason": "the report server restarts"
  }'

#: listMaintenanceWindows 200
curl "$CRONSVC_URL/api/v1/maintenance-windows?all=true" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: getMaintenanceWindow 200
curl "$CRONSVC_URL/api/v1/maintenance-windows/$WINDOW_ID" -H "Authorization: Bearer $CRONSVC_API_KEY"

#: replaceMaintenanceWindow 200
curl -X PUT "$CRONSVC_URL/api/v1/maintenance-windows/$WINDOW_ID" \
  -H "Authorization: Bearer $CRONSVC_API_KEY" -H "Content-Type: application/json" \
  -d '{"name": "Month end", "cronExpression": "0 1 1 * *", "durationSeconds": 3600, "during": "skip"}'

#: cancelMaintenanceWindow 200
curl -X POST "$CRONSVC_URL/api/v1/maintenance-windows/$WINDOW_ID/cancel" -H "Authorization: Bearer $CRONSVC_API_KEY"
