-- title: On-time rate against the original deadline
-- unit: ratio
-- Of the cases due on a day, how many were closed by then: by the first due date ever set (extensions do not count).
-- numerator: closed at or before the due instant. Where the source compares dates, the
--   due instant is the end of the local due day, so one comparison serves both.
-- denominator: due that day, those still open included: closed-only would reward never closing.
-- Cases without a deadline are in neither; so are cases merged or withdrawn, and those
-- due before they were received (flaw 'due_before_received').
-- Source: DOMAIN §5, "On-time rate". Day: the local day of that due date.
SELECT case_id, source, body, category, territory, original_due_on AS day,
       CASE WHEN state = 'closed' AND closed_at <= original_due_at THEN 1 ELSE 0 END AS numerator,
       1 AS denominator
FROM cases
WHERE original_due_at IS NOT NULL AND state NOT IN ('merged', 'withdrawn')
  AND (received_at IS NULL OR original_due_at >= received_at)
