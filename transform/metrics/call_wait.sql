-- title: Call centre: time to answer
-- unit: microseconds
-- From the call being offered to a person answering. Callers who gave up, or were called back,
-- are censored when their call ended; calls that still ring, at the moment of reading.
-- body: the line. category: the local hour of the call.
-- numerator: answered. denominator: offered.
-- A call that ended nobody knows when is in neither.
-- Source: DOMAIN §5, "Call centre". Day: the local day of the call.
SELECT p.case_id, p.source, p.body, p.category, p.territory, p.received_on AS day,
       CASE WHEN p.answered_at IS NOT NULL THEN 1 ELSE 0 END AS numerator, 1 AS denominator,
       elapsed_us(p.received_at, coalesce(p.answered_at, p.ended_at, CASE WHEN c.state = 'open' THEN :as_of END)) AS duration_us,
       p.answered_at IS NOT NULL AS observed
FROM parts p JOIN cases c ON c.case_id = p.case_id
WHERE c.regime = 'call'
  AND coalesce(p.answered_at, p.ended_at, CASE WHEN c.state = 'open' THEN :as_of END) >= p.received_at
