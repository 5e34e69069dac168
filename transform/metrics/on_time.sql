-- title: On-time rate
-- unit: ratio
-- Of the cases due on a day, how many were closed by then: by the due date in force (extensions count while they were valid).
-- numerator: closed at or before the due instant. Where the source compares dates, the
--   due instant is the end of the local due day, so one comparison serves both.
-- denominator: due that day, those still open included: closed-only would reward never closing.
-- Cases without a deadline are in neither; so are cases merged or withdrawn, and those
-- due before they were received (flaw 'due_before_received').
-- Source: DOMAIN §5, "On-time rate". Day: the local day of that due date.
SELECT case_id, source, body, category, territory, due_on AS day,
       CASE WHEN state = 'closed' AND closed_at <= due_at THEN 1 ELSE 0 END AS numerator,
       1 AS denominator
FROM cases
WHERE due_at IS NOT NULL AND state NOT IN ('merged', 'withdrawn')
  AND (received_at IS NULL OR due_at >= received_at)
