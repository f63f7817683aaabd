-- For wrk: POST one body after the other from a file with one on each line, and tell what came of it as one line of JSON.
-- wrk -s post.lua URL -- PATH FILE

local requests, position = {}, 0

function init(args)
   local headers = { ["Content-Type"] = "application/json" }
   for body in io.lines(args[2]) do
      requests[#requests + 1] = wrk.format("POST", args[1], headers, body)
   end
end

function request()
   position = position % #requests + 1
   return requests[position]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "most": %d, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout
   ))
end
