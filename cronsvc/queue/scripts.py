"""The two scripts that move tickets, each beside the function that runs it.

Both are atomic, both keep the list and the sorted set of a lane equally long, and both reset a lane where they are not.
One call costs Redis some 10 µs a ticket, so callers pass at most PUSH_LIMIT tickets at once.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from cronsvc.domain.execution import Ticket
from cronsvc.queue.lane import Lane

PUSH_LIMIT = 500

# Bodies go with a lost lane: nothing else would ever delete them.
LANE = """
local function broken(queued, incomplete)
  if redis.call('LLEN', queued) == redis.call('ZCARD', incomplete) then return false end
  for _, ids in ipairs({redis.call('LRANGE', queued, 0, -1), redis.call('ZRANGE', incomplete, 0, -1)}) do
    for first = 1, #ids, 1000 do redis.call('UNLINK', unpack(ids, first, math.min(first + 999, #ids))) end
  end
  redis.call('UNLINK', queued, incomplete)
  return true
end
local function ring(bell)
  if redis.call('LLEN', bell) == 0 then redis.call('LPUSH', bell, 1) end
end
"""

# KEYS: epoch, then per lane: queued, incomplete, bell
# ARGV: a new epoch, RPUSH or LPUSH, then per lane: id prefix, how many, then per ticket: key, body
# SET NX for a refused key puts back a body that was evicted while its id waits.
PUSH = (
    LANE
    + """
local added, reset, at = 0, {}, 3
for lane = 1, (#KEYS - 1) / 3 do
  local queued, incomplete, bell = KEYS[3 * lane - 1], KEYS[3 * lane], KEYS[3 * lane + 1]
  if broken(queued, incomplete) then reset[#reset + 1] = lane end
  local prefix, count, ids, bodies = ARGV[at], tonumber(ARGV[at + 1]), {}, {}
  at = at + 2
  for _ = 1, count do
    local id, body = prefix .. ARGV[at], ARGV[at + 1]
    at = at + 2
    if redis.call('ZADD', incomplete, 'NX', 0, id) == 1 then
      ids[#ids + 1] = id
      bodies[#bodies + 1] = id
      bodies[#bodies + 1] = body
    else
      redis.call('SET', id, body, 'NX')
    end
  end
  if #ids > 0 then
    redis.call('MSET', unpack(bodies))
    redis.call(ARGV[2], queued, unpack(ids))
    ring(bell)
    added = added + #ids
  end
end
if #reset > 0 then redis.call('SET', KEYS[1], ARGV[1]) end
return {added, reset}
"""
)

# KEYS as above, most urgent lane first. ARGV: a new epoch, how many
# A lane left with tickets keeps a token in its bell, so that the next idle worker wakes; an empty one keeps none.
FETCH = (
    LANE
    + """
local wanted, found, reset, lost, lanes = tonumber(ARGV[2]), {}, {}, 0, (#KEYS - 1) / 3
local lane, room = 1, wanted
while lane <= lanes and room > 0 do
  local queued, incomplete = KEYS[3 * lane - 1], KEYS[3 * lane]
  if broken(queued, incomplete) then reset[#reset + 1] = lane end
  local ids = redis.call('LPOP', queued, room)
  if ids and #ids > 0 then
    for i, body in ipairs(redis.call('MGET', unpack(ids))) do
      if body then
        found[#found + 1] = lane
        found[#found + 1] = body
      else
        lost = lost + 1
      end
    end
    redis.call('ZREM', incomplete, unpack(ids))
    redis.call('UNLINK', unpack(ids))
    room = room - #ids
  end
  if room > 0 then lane = lane + 1 end
end
if room > 0 then
  for empty = 1, lanes do redis.call('UNLINK', KEYS[3 * empty + 1]) end
else
  for rest = lane, lanes do
    if redis.call('LLEN', KEYS[3 * rest - 1]) > 0 then ring(KEYS[3 * rest + 1]) end
  end
end
if #reset > 0 or lost > 0 then redis.call('SET', KEYS[1], ARGV[1]) end
return {found, reset, lost, room}
"""
)


@dataclass(frozen=True, slots=True)
class Pushed:
    """`added` tickets wait that did not wait before; the `reset` lanes had lost something."""

    added: int
    reset: tuple[Lane, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """`bodies` left Redis, each with its lane. `lost` ids had no body. `drained`: all lanes were empty afterwards."""

    bodies: tuple[tuple[Lane, bytes], ...]
    reset: tuple[Lane, ...]
    lost: int
    drained: bool


class Scripts:
    """Both scripts on one client; redis-py loads them again when a restarted server does not know them."""

    def __init__(self, redis: Redis, *, epoch_key: str) -> None:
        self._epoch_key = epoch_key
        self._push = redis.register_script(PUSH)
        self._fetch = redis.register_script(FETCH)

    async def push(self, groups: Mapping[Lane, Sequence[Ticket]], *, front: bool = False) -> Pushed:
        """Let these tickets wait, at the end of their lanes or (`front`) at the head; those that wait are refused."""
        keys = [self._epoch_key]
        arguments: list[str | int] = [new_epoch(), "LPUSH" if front else "RPUSH"]
        for lane, tickets in groups.items():
            keys += lane.keys
            arguments += (lane.id_prefix, len(tickets))
            for ticket in reversed(tickets) if front else tickets:
                arguments += (lane.key(ticket), lane.body(ticket))
        added, reset = await self._push(keys=keys, args=arguments)
        lanes = tuple(groups)
        return Pushed(added=added, reset=tuple(lanes[index - 1] for index in reset))

    async def fetch(self, lanes: Sequence[Lane], wanted: int) -> Fetched:
        """Take up to `wanted` tickets out of Redis, from the first lanes first."""
        keys = [self._epoch_key]
        for lane in lanes:
            keys += lane.keys
        found: Sequence[Any]
        found, reset, lost, room = await self._fetch(keys=keys, args=[new_epoch(), wanted])
        return Fetched(
            bodies=tuple((lanes[index - 1], body) for index, body in zip(found[::2], found[1::2], strict=True)),
            reset=tuple(lanes[index - 1] for index in reset),
            lost=lost,
            drained=room > 0,
        )


def new_epoch() -> str:
    """A token that no server ever held before."""
    return secrets.token_hex(16)
