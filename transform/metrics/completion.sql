-- title: Completion rate (cohort)
-- unit: ratio
-- Of the cases received on a day, how many have by now been closed as resolved.
-- numerator: received that day, closed, outcome 'resolved'.
-- denominator: received that day; not merged, withdrawn, or an enquiry.
-- Rejected and not-ours outcomes stay in the denominator: closed is not fixed. A case
-- whose source does not say how it ended does not count as resolved.
-- Source: DOMAIN §5, "Completion rate (cohort)". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN state = 'closed' AND outcome = 'resolved' THEN 1 ELSE 0 END AS numerator,
       1 AS denominator
FROM cases
WHERE received_on IS NOT NULL
  AND state NOT IN ('merged', 'withdrawn')
  AND coalesce(regime, '') <> 'enquiry' AND coalesce(outcome, '') <> 'enquiry'
