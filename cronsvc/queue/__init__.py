"""The doorbell: Redis (or Valkey) hands tickets to workers, and may lose every one of them.

A Ticket is an execution's identity and nothing else; Postgres is the diary. So nothing here has to be durable, and
every failure below costs delay, never correctness:

- Tickets wait in lanes, one per queue and priority, in stock SAQ's key layout: a list of job ids (order), a sorted
  set of the same ids (a waiting key is refused, so a backlog never piles up duplicates) and one body per id.
- A fetch takes a ticket out of all three in one script. So list and set always have the same length, and a lane
  where they differ has lost something: push and fetch both look, and reset such a lane on sight.
- The epoch is a random token in Redis. A wipe loses it and a reset changes it; a scheduler that sees another token than
  last time pushes everything that waits, which the lanes make idempotent. A ticket lost in any other way (a reply cut
  off, a worker killed between fetch and claim, a poisoned body) is pushed again once its `dispatch_at` has passed.
- Workers never block on a lane, only on its doorbell: a list that holds one token while the lane may hold
  tickets. Losing a token costs at most one block (1 s); losing a reply of a blocking pop would lose a ticket.
- A fetch takes no more tickets than there are idle slots, so priority stays exact and a stopping worker has nothing
  to give back. Every 16th fetch starts from another lane, so a flood of critical work cannot starve the rest.

SAQ runs the slots (`saq.Worker`); its sweeper, scheduler, retries, timeouts and results stay off, for
the reasons measured in its issue tracker: they act on Redis' word, and here Redis' word is only a hint.
"""

from cronsvc.queue.broker import Broker
from cronsvc.queue.worker import TicketWorker

__all__ = ["Broker", "TicketWorker"]
