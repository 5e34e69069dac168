-- title: Time to first response
-- unit: microseconds
-- From receipt to the first substantive public reply. Automatic acknowledgements are
-- not replies. Unanswered cases are censored: at the close, or at the moment of reading.
-- numerator: answered. denominator: answered and not. closed_p*: answered only.
-- Negative durations (flaw 'answered_before_received'), merged and withdrawn cases are in neither.
-- Source: DOMAIN §5, "Time to first response". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN first_response_at IS NOT NULL THEN 1 ELSE 0 END AS numerator,
       1 AS denominator,
       elapsed_us(received_at, coalesce(first_response_at, closed_at, :as_of)) AS duration_us,
       first_response_at IS NOT NULL AS observed
FROM cases
WHERE received_at IS NOT NULL AND state IN ('open', 'closed')
  AND (first_response_at IS NULL OR first_response_at >= received_at)
  AND (closed_at IS NULL OR closed_at >= received_at)
