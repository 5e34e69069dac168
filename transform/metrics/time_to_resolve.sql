-- title: Time to resolve
-- unit: microseconds
-- From receipt to the last close, in calendar time. A case still open is censored at
-- the moment of reading: leaving it out would flatter (closed-only p90 was 26 days
-- where the truth was 36).
-- numerator: closed. denominator: closed and open. closed_p*: closed only, nearest rank;
-- p*: Kaplan–Meier over both, null = not reached.
-- Negative durations (flaw 'closed_before_received'), merged and withdrawn cases and
-- enquiries are in neither.
-- Source: DOMAIN §5, "Time to resolve", "p50/p90/p95". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN state = 'closed' THEN 1 ELSE 0 END AS numerator,
       1 AS denominator,
       CASE WHEN state = 'closed' THEN elapsed_us(received_at, closed_at)
            ELSE elapsed_us(received_at, :as_of) END AS duration_us,
       state = 'closed' AS observed
FROM cases
WHERE received_at IS NOT NULL AND state IN ('open', 'closed')
  AND (closed_at IS NULL OR closed_at >= received_at)
  AND coalesce(regime, '') <> 'enquiry' AND coalesce(outcome, '') <> 'enquiry'
