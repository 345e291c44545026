-- Takes items for the room that there is, stores what changed, and answers.

local had = room
local aside = see_to_suspects()
if aside then room = 0 end
if others > 0 and room > 0 then
  local found = count_waiting(model, room * (others + 1))
  fair = called == 1 and math.ceil(found / (others + 1)) or found - others
end
if room > 0 then serve('interactive', 0) end
if room > 0 then serve('ready', kept) end

write_claims()
write_times()
if clock_at then redis.call('SET', key('vclock', model), clock_at) end
finish_all(touched)

-- Whether work waits that had too little room, asked when the lists are up to date.
local function more()
  if drained or aside then return false end
  return blocked or had < 1 and redis.call('EXISTS', key('suspects', model)) > 0
    or room < 1 and redis.call('EXISTS', lane_key('interactive', model)) > 0
    or room <= kept and redis.call('EXISTS', lane_key('ready', model)) > 0
end

local answer = cjson.encode({more = more(), refused = refused, runs = runs, now = NOW, hooked = hooked()})
redis.call('HSET', workerkey, 'call', call, 'room', math.max(room, 0), 'cohort',
  doing and string.format('%s %d', doing, since) or '', 'passed', string.format('interactive %d %d ready %d %d',
    places.interactive[1], places.interactive[2], places.ready[1], places.ready[2]))
-- One that shares its slots is woken without room, too: it then waits for what others leave.
list_worker(model, incarnation, room, slots, shared == 1 and not drained)
redis.call('SET', replay, answer)
return answer
