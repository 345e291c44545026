-- Hands finished results in and takes items for up to `room` slots.
--[[ arguments
incarnation      the worker
call             the number of this exchange
room             number: free slots
kept             number: the last so many of them are for interactive jobs only
shared           number: 1 where other models use the worker's slots, too
rest             job, index, attempt, state, prompt tokens, completion tokens, blob, ...: of each result
]]
-- A result's state may be `pending`: the item is handed back, uncharged, with a blob of how far it got.
-- Answers JSON:
--   lost     true where this incarnation has no lease any more, or the server forgot calls it made: nothing was taken, it must start
--            over under a new name
--   refused  [job, index] of results that were not this incarnation's to write
--   runs     [job, first index, count, attempt, first index of the chunk they lie in, true if it ran before and got somewhere]
--   now      this server's clock
--   hooked   true where the webhook worker should be rung
--   more     true where work waits for more room than there was
-- The answer is kept under the call number: a client that sends a call again gets the same answer and changes nothing.
local workerkey, heldkey, replay = key('worker', incarnation), key('held', incarnation), key('replay', incarnation)

if not redis.call('ZSCORE', key('workers'), incarnation) then return '{"lost":true}' end
local worker = redis.call('HMGET', workerkey, 'call', 'model', 'slots', 'cohort', 'passed', 'drained')
if worker[1] == call then
  local answer = redis.call('GET', replay)
  if answer then return answer end
end
-- The server counts fewer calls than the worker made: it lost the tail of its log. What it thinks the worker holds goes back.
if tonumber(call) ~= (tonumber(worker[1]) or 0) + 1 then
  hand_back(incarnation, false, 0)
  return '{"lost":true}'
end
local model, slots = worker[2], tonumber(worker[3])
local drained = worker[6]
if drained then room = 0 end -- it hands in, and takes nothing
local blocked = false -- work that fits on this worker waits for more room than there is

-- Others that were woken a moment ago are on their way. Work that is not enough for all of them and this one is shared, and what
-- was submitted for an idle worker is not taken by a busy one that happens to come first.
local HEED = 100 -- ms; a woken worker that has not come by then is not waited for
local called = redis.call('ZREM', key('woken', model), incarnation)
local others = redis.call('ZCOUNT', key('woken', model), NOW - HEED, '+inf')
local fair = math.huge -- items this exchange may take

local clock_at -- virtual time of the last pick

local jobs, refused, runs = {}, {}, {}
local function job_of(id)
  if jobs[id] == nil then jobs[id] = load_job(id) or false end
  return jobs[id]
end

local touched = {} -- jobs that this exchange changes
local function touch(job)
  if not job.touched then touched[#touched + 1] = job end
  job.touched = true
end

-- What follows is in `exchange/`: charges, results, claims, suspects, serve, answer.
