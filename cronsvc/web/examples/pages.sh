# The pages: made for browsers, which send the cookie and say by themselves where a form came from.

#: pageLoginForm 200
curl "$CRONSVC_URL/login"

#: pageLogin 303
curl "$CRONSVC_URL/login" -c cookies.txt -H "Sec-Fetch-Site: same-origin" --data-urlencode "key=$CRONSVC_API_KEY"

#: pageLogout 303
curl -X POST "$CRONSVC_URL/logout" -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageSignIn 404
curl "$CRONSVC_URL/login/oidc"

#: pageSignedIn 404
curl "$CRONSVC_URL/login/oidc/callback?state=of-the-sign-in&code=of-the-provider"

#: pageOverview 200 with=failed_execution
curl "$CRONSVC_URL/" -b "cronsvc_session=$SESSION_COOKIE"

#: pageJob 200
curl "$CRONSVC_URL/jobs/$JOB_ID" -b "cronsvc_session=$SESSION_COOKIE"

#: pageWhy 200
curl "$CRONSVC_URL/jobs/$JOB_ID/why?at=2026-03-08T09:00" -b "cronsvc_session=$SESSION_COOKIE"

#: pageRun 303
curl -X POST "$CRONSVC_URL/jobs/$JOB_ID/run" -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pagePause 303
curl "$CRONSVC_URL/jobs/$JOB_ID/pause" -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin" \
  -d "back=/jobs/$JOB_ID"

#: pageResume 303 JOB_ID=paused_job
curl "$CRONSVC_URL/jobs/$JOB_ID/resume" -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin" \
  -d "back=/jobs/$JOB_ID" -d catchUp=yes

#: pagePauseJobs 303
curl "$CRONSVC_URL/jobs/pause" -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin" \
  --data-urlencode "note=the warehouse is being rebuilt"

#: pageResumeJobs 303
curl -X POST "$CRONSVC_URL/jobs/resume" -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageExecutions 200 with=failed_execution
curl "$CRONSVC_URL/executions?status=FAILED" -b "cronsvc_session=$SESSION_COOKIE"

#: pageExecution 200
curl "$CRONSVC_URL/executions/$EXECUTION_ID" -b "cronsvc_session=$SESSION_COOKIE"

#: pageCancel 303
curl -X POST "$CRONSVC_URL/executions/$EXECUTION_ID/cancel" \
  -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageRetry 303 EXECUTION_ID=failed_execution
curl -X POST "$CRONSVC_URL/executions/$EXECUTION_ID/retry" \
  -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageDeadLetters 200 with=failed_execution
curl "$CRONSVC_URL/dead-letters" -b "cronsvc_session=$SESSION_COOKIE"

#: pageRedrive 303 EXECUTION_ID=failed_execution
curl "$CRONSVC_URL/dead-letters/$EXECUTION_ID/redrive" \
  -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin" -d back=/dead-letters

#: pageResolve 303 EXECUTION_ID=failed_execution
curl "$CRONSVC_URL/dead-letters/$EXECUTION_ID/resolve" \
  -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin" -d back=/dead-letters -d "note=sent by hand"

#: pageQueues 200 with=queue
curl "$CRONSVC_URL/queues" -b "cronsvc_session=$SESSION_COOKIE"

#: pagePauseQueue 303 with=queue
curl "$CRONSVC_URL/queues/reports/pause" -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin" \
  -d "note=the report server moves"

#: pageResumeQueue 303 with=queue
curl -X POST "$CRONSVC_URL/queues/reports/resume" -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageBackfills 200 with=backfill
curl "$CRONSVC_URL/backfills" -b "cronsvc_session=$SESSION_COOKIE"

#: pagePauseBackfill 303
curl -X POST "$CRONSVC_URL/backfills/$BACKFILL_ID/pause" \
  -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageResumeBackfill 303 BACKFILL_ID=paused_backfill
curl -X POST "$CRONSVC_URL/backfills/$BACKFILL_ID/resume" \
  -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageCancelBackfill 303
curl -X POST "$CRONSVC_URL/backfills/$BACKFILL_ID/cancel" \
  -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageRecoveries 200 with=recovery
curl "$CRONSVC_URL/recoveries" -b "cronsvc_session=$SESSION_COOKIE"

#: pageCancelRecovery 303
curl -X POST "$CRONSVC_URL/recoveries/$RECOVERY_ID/cancel" \
  -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageCalendars 200 with=calendar
curl "$CRONSVC_URL/calendars" -b "cronsvc_session=$SESSION_COOKIE"

#: pageWindows 200 with=window
curl "$CRONSVC_URL/windows" -b "cronsvc_session=$SESSION_COOKIE"

#: pageEndWindow 303
curl -X POST "$CRONSVC_URL/windows/$WINDOW_ID/cancel" \
  -b "cronsvc_session=$SESSION_COOKIE" -H "Sec-Fetch-Site: same-origin"

#: pageDocs 200
curl "$CRONSVC_URL/docs"

#: pageProblems 200
curl "$CRONSVC_URL/problems"

#: pageProblem 200
curl "$CRONSVC_URL/problems/precondition-failed"

#: pageStatic 200
curl "$CRONSVC_URL/static/style.css"
