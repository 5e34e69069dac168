-- title: Margin between close and deadline
-- unit: microseconds
-- How long before its deadline a case was closed; negative: after it. A heap in the last day
-- before the deadline shows closing for the clock's sake; metrics.deadline_margin_days is
-- the histogram by day.
-- Where the source compares dates the margin is in whole days, otherwise to the microsecond.
-- numerator: closed in time. denominator: closed, with a deadline.
-- Open cases have no margin yet and are in neither, as are cases due before they were
-- received.
-- Source: DOMAIN §5, "On-time rate". Day: closed_on.
SELECT case_id, source, body, category, territory, closed_on AS day,
       CASE WHEN closed_at <= due_at THEN 1 ELSE 0 END AS numerator, 1 AS denominator,
       CASE WHEN due_compare = 'date'
            THEN (CAST(CAST(due_on AS INT) AS BIGINT) - CAST(CAST(closed_on AS INT) AS BIGINT)) * 86400000000
            ELSE elapsed_us(closed_at, due_at) END AS duration_us,
       true AS observed
FROM cases
WHERE state = 'closed' AND due_at IS NOT NULL AND (received_at IS NULL OR due_at >= received_at)
