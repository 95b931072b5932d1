-- A bucket is the moment at which it will be full again.
local per, fill, depth = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cost, wanted = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
-- Another node may have taken over whose clock is behind.
full_at = math.min(full_at, now + depth)
local credit = fill - (full_at - now)
local needed = math.min(cost * per, fill)
local there = math.max(0, math.floor(credit / per))
if credit < needed then
  return {0, there, math.ceil(needed - credit)}
end
local granted = math.max(cost, math.min(wanted, there))
full_at = full_at + granted * per
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000) + 1)
return {granted, math.max(0, there - granted), 0}
