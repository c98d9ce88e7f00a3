"""What the broker does in one step for a worker, as Lua: take a message, give it back, answer a request."""

from __future__ import annotations

from lineside_plugins import meeting

# As many messages as there are keys to take them to, each the next one of the first queue that has any, go from their
# queue to the notes of what is delivered, as kombu has them, and their batches to keys of this worker: copies, because
# a string of 393 KB that passes through Lua costs 0.2 ms, a copy 0.02 ms. What Celery has to look at itself (another
# task, a later time, another format) stays in its queue. A right that is missing is found before anything has moved.
# KEYS: unacked index, unacked, taken ..., queues ... ARGV: now, how many keys to take to.
TAKE = f"""
local function text(message, name)
  local _, last = string.find(message, '"' .. name .. '":', 1, true)
  return last and string.match(message, '^%s*"([^"]+)"', last + 1)
end
local function take(to)
  for i = 3 + tonumber(ARGV[2]), #KEYS do
    local message = redis.call('LINDEX', KEYS[i], -1)
    if message then
      local id, tag = text(message, 'id'), text(message, 'delivery_tag')
      if not (id and tag) or text(message, 'task') ~= '{meeting.CELERY_TASK}' or text(message, 'eta') then
        return nil
      end
      local claim = '{meeting.claim_key("")}' .. id
      redis.call('COPY', claim, to, 'REPLACE')
      local attempts = redis.call('GET', '{meeting.attempts_key("")}' .. id)
      local left = redis.call('PTTL', claim)
      redis.call('ZADD', KEYS[1], ARGV[1], tag)
      redis.call('HSET', KEYS[2], tag, '[' .. message .. ',"","' .. KEYS[i] .. '"]')
      redis.call('RPOP', KEYS[i])
      return {{message, id, tag, KEYS[i], tonumber(attempts or 0), left}}
    end
  end
end
local taken = {{}}
for n = 1, tonumber(ARGV[2]) do
  taken[n] = take(KEYS[2 + n])
  if not taken[n] then break end
end
return taken
"""

# To the front of its queue, unless its time is up and another worker has it. KEYS: unacked index, unacked, queue.
# ARGV: tag, message.
GIVE_BACK = """
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then redis.call('RPUSH', KEYS[3], ARGV[2]) end
return 1
"""

# Whoever removes the claim answers: a request that two workers hold at once is answered once. The message of either
# is acknowledged. KEYS: claim, attempts, stream, unacked index, unacked. ARGV: most entries, id, body, hmac, tag.
ANSWER = """
redis.call('ZREM', KEYS[4], ARGV[5])
redis.call('HDEL', KEYS[5], ARGV[5])
if redis.call('UNLINK', KEYS[1]) == 0 then return 0 end
redis.call('UNLINK', KEYS[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[1], '*', 'id', ARGV[2], 'body', ARGV[3], 'hmac', ARGV[4])
return 1
"""
