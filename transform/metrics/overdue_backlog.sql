-- title: Overdue backlog
-- unit: cases
-- Open cases at the moment of reading, and how many of them are past their due instant.
-- numerator: open and overdue. denominator: open.
-- duration_us: for overdue cases, how long ago the deadline passed; quantiles are over those.
-- Cases without a deadline are open, never overdue.
-- Source: DOMAIN §5, "Overdue backlog at A". Day: received_on.
SELECT case_id, source, body, category, territory, received_on AS day,
       CASE WHEN due_at < :as_of THEN 1 ELSE 0 END AS numerator,
       1 AS denominator,
       CASE WHEN due_at < :as_of THEN elapsed_us(due_at, :as_of) END AS duration_us,
       true AS observed
FROM cases
WHERE state = 'open' AND received_at IS NOT NULL
