-- title: Time to first close
-- unit: microseconds
-- From receipt to the first close: beside time_to_resolve it shows what reopening adds. A
-- case never closed is censored at the moment of reading.
-- numerator: closed at least once. denominator: closed and never closed.
-- Negative durations, merged, split and withdrawn cases, enquiries, calls and posts are in
-- neither; nor is what is received only after the moment of reading.
-- Source: DOMAIN §5, "Time to resolve". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN first_closed_at IS NOT NULL THEN 1 ELSE 0 END AS numerator,
       1 AS denominator,
       elapsed_us(received_at, coalesce(first_closed_at, :as_of)) AS duration_us,
       first_closed_at IS NOT NULL AS observed
FROM cases
WHERE received_at IS NOT NULL AND state IN ('open', 'closed')
  AND (first_closed_at IS NULL OR first_closed_at >= received_at)
  AND (state <> 'open' OR received_at <= :as_of)
  AND coalesce(regime, '') NOT IN ('enquiry', 'call', 'post') AND coalesce(outcome, '') <> 'enquiry'
