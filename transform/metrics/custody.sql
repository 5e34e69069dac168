-- title: Custody time per body
-- unit: microseconds
-- How long each body held a case: only its own holding, however often it had it. Time that
-- no body held has no body and is the coordination centre's, the time between a close and a
-- reopening included; so the durations of a case add up to its whole time, exactly.
-- numerator: holdings of cases that have ended. denominator: holdings; one per case and body.
-- duration_us: time held. Of cases still open it is censored at the moment of reading.
-- sum(duration_us * n) over the cells is the whole time held.
-- Cases without a receipt are in neither.
-- Source: DOMAIN §5, "Bounces, custody". Day: received_on.
SELECT c.case_id, c.source, s.body, c.category, c.territory, c.received_on AS day,
       CASE WHEN c.state = 'open' THEN 0 ELSE 1 END AS numerator, 1 AS denominator,
       sum(elapsed_us(s.from_at, coalesce(s.to_at, :as_of))) AS duration_us,
       c.state <> 'open' AS observed
FROM segments s JOIN cases c ON c.case_id = s.case_id
WHERE c.received_at IS NOT NULL AND coalesce(c.regime, '') NOT IN ('enquiry', 'call', 'post')
  AND (s.to_at IS NOT NULL OR s.from_at <= :as_of)
GROUP BY c.case_id, c.source, s.body, c.category, c.territory, c.received_on, c.state
