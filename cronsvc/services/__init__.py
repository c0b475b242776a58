"""The acts of cronsvc, and the only floor that opens transactions.

The life of one firing, in the order of the files to read:

`scheduling`  T1. A scheduler finds due jobs, locks them, plans them (`domain.plan`, pure) and writes in one transaction
              a row for each instant and the cursor behind it. Two schedulers, a crash, a clock that jumps: the unique
              key (job_id, scheduled_time) makes the second write of an instant nothing. The advisory locks spread the
              work; with them off the rows are the same.
`dispatch`    After the commit the new rows become tickets in Redis: identities, no payload. Redis may lose, double or
              delay any of them. T2 pushes again whatever is QUEUED past its `dispatch_at`: lost tickets, retries after
              their backoff, jittered starts. Redis being away costs delay, never a row.
`running`     T3. A worker claims before any side effect: QUEUED → RUNNING, attempt + 1, claim_no + 1, all in one
              conditional statement, so a ticket that comes twice starts nothing. It runs the executor of the revision
              that the row pinned, under the job's timeout. T4. The end is written behind the fence `claim_no`: a worker
              that was frozen meanwhile writes nothing. A failure with attempts left goes back to QUEUED. T5. When a
              worker's lease runs out, what it held is counted as lost and tried again, or FAILED(lost) when it must not
              be: nobody knows whether its target was called, and the row says so.
`outbound`    Before an attempt calls a host: what its namespace may call, and whether the host's budget and breaker
              have room. If not, the claim is given back in one transaction with the reason, and no attempt is spent.
`secret_reading`  Secrets for attempts, and their masks over all that is kept of them; people keep them by `secrets`.
`stopping`    An attempt ends early: a person cancelled it, its lease is gone, or its process drains.
`backfilling` The past on purpose: schedulers step through windows that people named, a few instants at a time. A step
              is one transaction that writes executions and moves the backfill's own cursor; the job's cursor stays.
`failing`     What an end does to its job: failures in a row or a target that is gone pause it, in the transaction of
              that end; what still waits at its deadline is FAILED.
`upkeep`      Partitions ahead and behind; rows that a job keeps fewer of. Whatever goes is counted in `job_statistics`
              by the statement that deletes it.

People act through `jobs` (with `job_validation` and `job_edits`), `executions`, `access`, `status` and `preview`. An
edit first settles what its old definition owes, then changes; revision, audit row and cursor go with it or not at all.

Not promised: exactly-once effects at a target (it gets the same `Idempotency-Key` for every attempt), and nothing
across an asynchronous failover of Postgres, which may forget commits.
"""
