-- title: Clearance (throughput)
-- unit: ratio
-- Closed on a day over received on that day. May pass 100 %: old cases are closed too.
-- numerator: closed that day, whatever the outcome.
-- denominator: received that day.
-- Merged and withdrawn cases and enquiries are in neither. n counts both kinds of rows.
-- Source: DOMAIN §5, "Clearance (throughput)". Day: closed_on and received_on.
SELECT case_id, source, body, category, territory, received_on AS day, 0 AS numerator, 1 AS denominator
FROM cases
WHERE received_on IS NOT NULL AND state NOT IN ('merged', 'withdrawn')
  AND coalesce(regime, '') <> 'enquiry' AND coalesce(outcome, '') <> 'enquiry'
UNION ALL
SELECT case_id, source, body, category, territory, closed_on AS day, 1 AS numerator, 0 AS denominator
FROM cases
WHERE state = 'closed' AND closed_on IS NOT NULL
  AND coalesce(regime, '') <> 'enquiry' AND coalesce(outcome, '') <> 'enquiry'
